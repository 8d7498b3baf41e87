// SPDX-License-Identifier: GPL-2.0

#include <linux/rcupdate.h>

/* synchronize_rcu_tasks() is a macro if the kernel has no CONFIG_TASKS_RCU. */
void rust_helper_synchronize_rcu_tasks(void)
{
	synchronize_rcu_tasks();
}
