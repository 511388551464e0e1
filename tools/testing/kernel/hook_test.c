// SPDX-License-Identifier: GPL-2.0
/*
 * Another module that hooks the GRE segmenter, in front of whoever has done so before,
 * and passes everything on: what ip_tunnel_core's own hook has to survive.
 */
#include <linux/module.h>
#include <net/protocol.h>

static const struct net_offload *hook_test_next;
static struct net_offload hook_test_offload;

static unsigned int calls;
module_param(calls, uint, 0444);
MODULE_PARM_DESC(calls, "GSO packets segmented");

static struct sk_buff *hook_test_segment(struct sk_buff *skb, netdev_features_t features)
{
	calls++;
	return hook_test_next->callbacks.gso_segment(skb, features);
}

static const struct net_offload *hook_test_replace(const struct net_offload *old,
						   const struct net_offload *new)
{
	return cmpxchg((const struct net_offload __force **)&inet_offloads[IPPROTO_GRE], old, new);
}

static int __init hook_test_init(void)
{
	hook_test_next = rcu_access_pointer(inet_offloads[IPPROTO_GRE]);
	if (!hook_test_next)
		return -ENOPROTOOPT;
	hook_test_offload = *hook_test_next;
	hook_test_offload.callbacks.gso_segment = hook_test_segment;
	return hook_test_replace(hook_test_next, &hook_test_offload) == hook_test_next ? 0 : -EBUSY;
}

static void __exit hook_test_exit(void)
{
	hook_test_replace(&hook_test_offload, hook_test_next);
	synchronize_net();
}

module_init(hook_test_init);
module_exit(hook_test_exit);
MODULE_DESCRIPTION("iptnl: another hook of the GRE segmenter");
MODULE_LICENSE("GPL");
