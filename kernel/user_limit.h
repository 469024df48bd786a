/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How much of something each user has, and may have. In a header because two modules
 * that do not need each other both count.
 */
#ifndef USER_LIMIT_H
#define USER_LIMIT_H

#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/hash.h>
#include <linux/list.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>

#define USER_LIMIT_BITS 6

/**
 * struct user_count - how much one user has
 * @node: in user_limit.users
 * @uid: real user
 * @count: never zero; it is freed instead
 */
struct user_count {
	struct hlist_node node;
	kuid_t uid;
	unsigned int count;
};

/**
 * struct user_limit - the users that have any
 * @lock: all of it; innermost, in process context
 * @users: struct user_count
 */
struct user_limit {
	spinlock_t lock;	/* see above */
	struct hlist_head users[1 << USER_LIMIT_BITS];
};

#define DEFINE_USER_LIMIT(name) \
	struct user_limit name = { .lock = __SPIN_LOCK_UNLOCKED(user_limit.lock) }

static inline struct user_count *user_limit_find(struct hlist_head *users, kuid_t uid)
{
	struct user_count *user;

	hlist_for_each_entry(user, users, node)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

/**
 * user_limit_uncharge - it is gone
 * @limit: as given to user_limit_charge()
 * @user: as it returned
 */
static inline void user_limit_uncharge(struct user_limit *limit, struct user_count *user)
{
	bool last;

	spin_lock(&limit->lock);
	last = !--user->count;
	if (last)
		hlist_del(&user->node);
	spin_unlock(&limit->lock);
	if (last)
		kfree(user);
}

/**
 * user_limit_charge - the caller gets one more
 * @limit: of this
 * @max: most it may have, unless it may exceed resource limits (CAP_SYS_RESOURCE)
 *
 * Returns: what to give to user_limit_uncharge(), or an ERR_PTR: -ENOSPC, -ENOMEM.
 */
static inline struct user_count *user_limit_charge(struct user_limit *limit, unsigned int max)
{
	kuid_t uid = current_uid();
	struct hlist_head *users = &limit->users[hash_32(__kuid_val(uid), USER_LIMIT_BITS)];
	struct user_count *made = kmalloc(sizeof(*made), GFP_KERNEL_ACCOUNT), *user;
	bool above;

	if (!made)
		return ERR_PTR(-ENOMEM);
	made->uid = uid;
	made->count = 0;

	spin_lock(&limit->lock);
	user = user_limit_find(users, uid);
	if (!user) {
		user = made;
		made = NULL;
		hlist_add_head(&user->node, users);
	}
	above = ++user->count > max;
	spin_unlock(&limit->lock);
	kfree(made);

	if (above && !capable(CAP_SYS_RESOURCE)) {
		user_limit_uncharge(limit, user);
		return ERR_PTR(-ENOSPC);
	}
	return user;
}

#endif /* USER_LIMIT_H */
