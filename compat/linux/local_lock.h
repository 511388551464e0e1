/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _COMPAT_LINUX_LOCAL_LOCK_H
#define _COMPAT_LINUX_LOCAL_LOCK_H

/* With PREEMPT_RT it needs, and once did not include, this. */
#include <linux/spinlock.h>
#include_next <linux/local_lock.h>

#ifndef local_lock_nested_bh
/* Until PREEMPT_RT could do without one, a lock of its own kept the softirqs of a CPU apart. */
#define local_lock_nested_bh(lock)	((void)(lock))
#define local_unlock_nested_bh(lock)	((void)(lock))
#endif

#endif
