// SPDX-License-Identifier: GPL-2.0

#include <linux/rcupdate.h>

/* A macro on kernels that are not preempted. */
void rust_helper_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}
