// SPDX-License-Identifier: GPL-2.0

#include <linux/interval_tree.h>
#include <linux/rbtree_augmented.h>

#define LAST(node) ((node)->last)

/* The same callbacks in lib/interval_tree.c are static. */
RB_DECLARE_CALLBACKS_MAX(static, augment, struct interval_tree_node, rb,
			 unsigned long, __subtree_last, LAST)

void rust_helper_interval_tree_link(struct interval_tree_node *node, struct rb_node *parent,
				    struct rb_node **link, bool leftmost,
				    struct rb_root_cached *root)
{
	rb_link_node(&node->rb, parent, link);
	rb_insert_augmented_cached(&node->rb, root, leftmost, &augment);
}
