# SPDX-License-Identifier: MIT
# Runs in a guest with a debug kernel after the tests: are the checkers still on, what did they
# find? Exit status 1 when something is wrong.

status=0

if [ -e /proc/lockdep_stats ]; then
	grep -q 'debug_locks: *1' /proc/lockdep_stats || {
		echo "lockdep has switched itself off" >&2
		status=1
	}
fi

leaks=/sys/kernel/debug/kmemleak
if [ -e "$leaks" ]; then
	# The first scan of an object that is just being made sees no pointer to it yet.
	echo scan >"$leaks"
	sleep 6
	echo scan >"$leaks"
	# Its size is always zero.
	if grep -q . "$leaks"; then
		cat "$leaks" >&2
		status=1
	fi
fi

exit $status
