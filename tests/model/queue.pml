/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The queue of dmabuf-sync: 3 tasks, 3 buffers, sets of buffers, readers and writers, signals
 * that take waiters away, holders that never let go, and the timer that revokes their holds.
 *
 * What the C does under the locks of queues is one atomic step here; everything between two such
 * steps interleaves freely. docs/algorithm.md tells the rules; names are those of the C where it
 * has them. Requests join all their queues in one step, so one list is the order of every queue.
 * Caches are left out: what leaves keeps everybody out, as it does to a device.
 *
 * Task 0 and 2 are sync objects, which hold nothing while they wait. Task 1 may be fcntl(), which
 * may hold one buffer and ask for another one. HANGS and SIGNALLED tell, a bit for each task, who
 * may hold for ever and be revoked, and who may be interrupted while it waits.
 *
 * monitor() and the assertions say what never happens, the formulas at the end who is served in
 * the end, and spin itself finds dead ends: tests/unit/test_model.py runs them. Each of these
 * macros breaks the model in one place, and one of the checks notices:
 *
 *   FORGET_SCAN_AT_RELEASE   who lets go does not look who may have it now
 *   FORGET_SCAN_AT_CANCEL    nor does who stops waiting
 *   IGNORE_EARLIER           those who wait in front do not count
 *   TRUST_READY              no second look with all queues of a set locked
 *   CLEAR_CANDIDATE_LATE     a set can be named again only after that look
 *   NEVER_OVERTAKE           cycles made by the order of waiting stay
 *   NEVER_REVOKE             no timer
 *   RELEASE_REVOKED          the owner also takes off the list what was revoked
 */

#ifndef HANGS
#define HANGS 1
#endif
#ifndef SIGNALLED
#define SIGNALLED 2
#endif
#define TASKS 3
#define A 1
#define B 2
#define C 4

mtype = { IDLE, WAITING, GRANTED };

mtype state[TASKS] = IDLE;
byte want[TASKS];		/* buffers asked for, a bit each */
byte writes[TASKS];		/* those of them to be written */
byte held[TASKS];		/* on the granted list */
byte leaving[TASKS];		/* being given back: nobody else may do that */
byte revoked[TASKS];		/* taken away */
byte ready[TASKS];		/* DSYNC_READY */
bool candidate[TASKS];		/* on somebody's list of candidates */
byte looking;			/* how many have a candidate in hand */
byte order[TASKS];		/* who waits, first come first, as task + 1 */

/* Scratch of one atomic step. */
hidden byte i, j, k, u;
hidden byte stop, found;

/* Who runs scan() or grant_candidates() has a list of candidates, a bit for each task. */
#define bit(t)			(1 << (t))
#define single(t)		(want[t] == A || want[t] == B || want[t] == C)
#define conflict(t, u, mask)	((want[t] & want[u] & (mask)) & (writes[t] | writes[u]))

/* The same in other words, for what the checks say: it uses nothing that the algorithm keeps. */
#define clash(t, u)	((held[t] & held[u] & (writes[t] | writes[u])) != 0)
#define before(u, t)	((order[0] == u + 1 && (order[1] == t + 1 || order[2] == t + 1)) || \
			 (order[1] == u + 1 && order[2] == t + 1))
#define holds(u, t)	(u != t && (want[t] & held[u] & (writes[t] | writes[u])) != 0)
#define keeps(u, t)	(holds(u, t) || (before(u, t) && conflict(t, u, want[t]) != 0))

/* stop = is the access of task t to buffer b kept back? In front of it: order[0 .. place - 1]. */
inline blocked(t, b, place)
{
	stop = false;
	u = 0;
	do
	:: u < TASKS ->
		if
		:: u != t && (held[u] & b) && ((writes[t] | writes[u]) & b) -> stop = true
		:: else
		fi;
		u++
	:: else -> break
	od;
#ifndef IGNORE_EARLIER
	k = 0;
	do
	:: k < place && order[k] ->
		if
		:: conflict(t, order[k] - 1, b) -> stop = true
		:: else
		fi;
		k++
	:: else -> break
	od;
#endif
	u = 0;
	k = 0
}

/* Take place p out of the order. */
inline leave_order(p)
{
	k = p;
	do
	:: k < TASKS - 1 -> order[k] = order[k + 1]; k++
	:: else -> break
	od;
	order[TASKS - 1] = 0;
	k = 0
}

inline grant(t)
{
	assert(!keeps(0, t) && !keeps(1, t) && !keeps(2, t));
	state[t] = GRANTED;
	held[t] = held[t] | want[t];
	ready[t] = 0
}

/* dsync_queue_scan(): buffer b has changed. */
inline scan(b, candidates)
{
	i = 0;
	do
	:: i < TASKS && order[i] ->
		j = order[i] - 1;
		if
		:: want[j] & b ->
			blocked(j, b, i);
			if
			:: single(j) && !stop ->
				grant(j);
				leave_order(i)
			:: single(j) && stop -> i++
			:: else ->
				ready[j] = (stop -> ready[j] & ~b : ready[j] | b);
				if
				:: ready[j] == want[j] && !candidate[j] ->
					candidate[j] = true;
					candidates = candidates | bit(j)
				:: else
				fi;
				i++
			fi;
			/* Nobody passes a writer that waits. */
			if :: stop && (writes[j] & b) -> break :: else fi
		:: else -> i++
		fi
	:: else -> break
	od;
	i = 0;
	j = 0;
	stop = false
}

inline scan_all(mask, candidates)
{
	if :: (mask) & A -> scan(A, candidates) :: else fi;
	if :: (mask) & B -> scan(B, candidates) :: else fi;
	if :: (mask) & C -> scan(C, candidates) :: else fi
}

inline look_at(t, b, place)
{
	if
	:: want[t] & b ->
		blocked(t, b, place);
		if
		:: !stop -> ready[t] = ready[t] | b
		:: else
		fi
	:: else
	fi
}

/* found = nothing keeps any buffer of t back; ready[t] says which ones. */
inline look(t, place)
{
	ready[t] = 0;
	look_at(t, A, place);
	look_at(t, B, place);
	look_at(t, C, place);
	found = (ready[t] == want[t]);
	stop = false
}

/* i = the place of task t in the order. */
inline find_place(t)
{
	i = 0;
	do
	:: order[i] != t + 1 -> i++
	:: else -> break
	od
}

/* dsync_sync_acquire(): with all its queues locked, be granted all or wait for all. */
inline acquire(t)
{
	look(t, TASKS);
	if
	:: found -> grant(t)
	:: else ->
		i = 0;
		do
		:: order[i] -> i++
		:: else -> break
		od;
		order[i] = t + 1;
		i = 0;
		if :: single(t) -> ready[t] = 0 :: else fi;
		state[t] = WAITING
	fi;
	found = false
}

/*
 * dsync_cycle_deadlocks() for task t, which holds something and has just begun to wait, as the
 * last. Sets hold nothing while they wait, so a cycle has an order edge: who waits in front of t
 * and, perhaps through the third task, for t, is overtaken. Who waits between them behind that
 * one goes with it, and nobody else does (dsync_order_overtake()).
 */
inline overtake(t)
{
	do
	:: true ->
		i = 0;
		do
		:: order[i] != t + 1 && !found ->
			j = order[i] - 1;
			k = (i == 0 -> order[1] : order[0]) - 1;
			if
			:: conflict(t, j, want[t]) &&
			   (holds(t, j) || (k != t && keeps(k, j) && holds(t, k))) ->
				found = true
			:: else -> i++
			fi
		:: else -> break
		od;
		if
		:: !found -> break
		:: found && i == 0 && order[1] != t + 1 && !conflict(k, j, want[j]) ->
			order[0] = k + 1;
			order[1] = t + 1;
			order[2] = j + 1
		:: else ->
			j = i;
			find_place(t);
			do
			:: i > j -> order[i] = order[i - 1]; i--
			:: else -> break
			od;
			order[j] = t + 1
		fi;
		found = false
	od;
	i = 0;
	j = 0;
	k = 0
}

/* dsync_grant_candidates(). c is a variable of the caller. */
inline grant_candidates(candidates, c)
{
	do
	:: candidates ->
		d_step {
			c = (candidates & 1 -> 0 : (candidates & 2 -> 1 : 2));
			looking++;
			candidates = candidates & ~bit(c);
#ifndef CLEAR_CANDIDATE_LATE
			candidate[c] = false
#endif
		};
		d_step {
			if
			:: state[c] == WAITING ->
				find_place(c);
#ifdef TRUST_READY
				found = (ready[c] == want[c]);
#else
				look(c, i);
#endif
				if
				:: found ->
					grant(c);
					leave_order(i);
					scan_all(want[c], candidates)
				:: else
				fi
			:: else
			fi;
			found = false;
			i = 0;
#ifndef CLEAR_CANDIDATE_LATE
			looking--;
			c = 0
#endif
		};
#ifdef CLEAR_CANDIDATE_LATE
		d_step { candidate[c] = false; looking--; c = 0 }
#endif
	:: else -> break
	od
}

/* dsync_request_cancel(): a signal came while it waited. */
inline cancel(t, candidates)
{
	find_place(t);
	leave_order(i);
	i = 0;
	state[t] = IDLE;
	ready[t] = 0;
#ifndef FORGET_SCAN_AT_CANCEL
	scan_all(want[t], candidates)
#endif
}

/* dsync_finish_release(): buffer b is off the list. */
inline release(t, b, candidates)
{
	d_step {
		assert(held[t] & leaving[t] & b);
		held[t] = held[t] & ~b;
		leaving[t] = leaving[t] & ~b;
#ifndef FORGET_SCAN_AT_RELEASE
		scan(b, candidates)
#endif
	};
	grant_candidates(candidates, c)
}

#define ask(buffers, to_write)	want[t] = buffers; writes[t] = to_write

proctype task(byte t)
{
	byte candidates, c, mine;

again:
	atomic {
		if
		:: t == 0 -> ask(A, A)
		:: t == 0 -> ask(A | B, B)
		:: t == 1 -> ask(A, 0)
		:: t == 1 -> ask(B, B)
		:: t == 2 -> ask(A, 0)
		:: t == 2 -> ask(C | A, C | A)
		fi;
		d_step { acquire(t) }
	};
	if
	:: state[t] == GRANTED
	:: atomic { (SIGNALLED & bit(t)) && state[t] == WAITING -> cancel(t, candidates) };
		grant_candidates(candidates, c);
		goto over
	fi;
	if
	:: true		/* done with the buffers, or dead: both close the last descriptor */
	:: HANGS & bit(t) ->	/* hangs: wakes up to find a hold gone, or never */
end_hangs:
		revoked[t]
	:: held[t] == B && t == 1 ->	/* fcntl(): holds one buffer and asks for another one */
		atomic {
			if
			:: want[t] = A; writes[t] = writes[t] | A
			:: want[t] = A
			:: want[t] = C; writes[t] = writes[t] | C
			fi;
			d_step {
				acquire(t);
				if
				:: state[t] == WAITING ->
#ifndef NEVER_OVERTAKE
					overtake(t);
#endif
					scan(want[t], candidates)
				:: else
				fi
			}
		};
		grant_candidates(candidates, c);
		if
		:: state[t] == GRANTED
		:: atomic { (SIGNALLED & bit(t)) && state[t] == WAITING -> cancel(t, candidates) };
			grant_candidates(candidates, c)
		fi
	fi;
	atomic {	/* dsync_release_request() */
#ifdef RELEASE_REVOKED
		mine = held[t];
#else
		mine = held[t] & ~revoked[t];
#endif
		leaving[t] = leaving[t] | mine
	};
	if :: mine & A -> release(t, A, candidates) :: else fi;
	if :: mine & B -> release(t, B, candidates) :: else fi;
	if :: mine & C -> release(t, C, candidates) :: else fi;
	mine = 0;
	held[t] == 0;		/* whoever revoked the others is through with them */
over:
	atomic {
		state[t] = IDLE;
		want[t] = 0;
		writes[t] = 0;
		revoked[t] = 0;
	};
	goto again
}

/* Somebody who waits wants what t holds of b, and t may lose it. */
#define wanted(t, v, b)	(state[v] == WAITING && v != t && \
			 (held[t] & want[v] & b & (writes[t] | writes[v])))
#define due(t, b)	((HANGS & bit(t)) && !((leaving[t] | revoked[t]) & b) && \
			 (wanted(t, 0, b) || wanted(t, 1, b) || wanted(t, 2, b)))
#define revoke(n, b)	due(n, b) -> revoked[n] = revoked[n] | b; leaving[n] = leaving[n] | b; \
			t = n; which = b

/* expire.c: the deadline of any hold may have passed. */
proctype expiry()
{
	byte candidates, c, t, which;

end_nobody_is_due:
	do
	:: atomic {
		if
		:: revoke(0, A)
		:: revoke(0, B)
		:: revoke(0, C)
		:: revoke(1, A)
		:: revoke(1, B)
		:: revoke(1, C)
		:: revoke(2, A)
		:: revoke(2, B)
		:: revoke(2, C)
		fi
	   };
	   release(t, which, candidates);
	   atomic { t = 0; which = 0 }
	od
}

/* What is promised. */
#define forgotten(t, u, v) (state[t] == WAITING && !keeps(u, t) && !keeps(v, t))
#define quiet		(!candidate[0] && !candidate[1] && !candidate[2] && looking == 0)

#define exclusion	(!clash(0, 1) && !clash(1, 2) && !clash(2, 0))
#define all_or_none(t)	(state[t] != WAITING || (held[t] & want[t]) == 0)
#define none_forgotten	(!quiet || (!forgotten(0, 1, 2) && !forgotten(1, 2, 0) && \
				    !forgotten(2, 0, 1)))

proctype monitor()
{
end_all_is_well:
	atomic {
		!(exclusion && all_or_none(0) && all_or_none(1) && all_or_none(2) &&
		  none_forgotten) -> assert(false)
	}
}

init {
	atomic {
		run task(0);
		run task(1);
		run task(2);
		run monitor();
#ifndef NEVER_REVOKE
		run expiry();
#endif
	}
}

ltl served_0 { [] (state[0] == WAITING -> <> (state[0] != WAITING)) }
ltl served_1 { [] (state[1] == WAITING -> <> (state[1] != WAITING)) }
ltl served_2 { [] (state[2] == WAITING -> <> (state[2] != WAITING)) }
