// SPDX-License-Identifier: GPL-2.0
/*
 * A UDP encapsulation in the place of FOU's, with @extra bytes of 0xee behind its
 * UDP header: what a tunnel meets whose fou was replaced by another one.
 */
#include <linux/module.h>
#include <linux/udp.h>
#include <net/ip_tunnels.h>

static unsigned int extra;
module_param(extra, uint, 0444);
MODULE_PARM_DESC(extra, "Bytes more than FOU");

static size_t encap_test_hlen(struct ip_tunnel_encap *e)
{
	return sizeof(struct udphdr) + extra;
}

static int encap_test_build(struct sk_buff *skb, struct ip_tunnel_encap *e, u8 *protocol,
			    struct flowi4 *fl4)
{
	struct udphdr *uh;

	if (iptunnel_handle_offloads(skb, SKB_GSO_UDP_TUNNEL))
		return -ENOMEM;
	memset(skb_push(skb, extra), 0xee, extra);
	uh = skb_push(skb, sizeof(*uh));
	skb_reset_transport_header(skb);
	*uh = (struct udphdr) {
		.source	= e->sport,
		.dest	= e->dport,
		.len	= htons(skb->len),
	};
	*protocol = IPPROTO_UDP;
	return 0;
}

static const struct ip_tunnel_encap_ops encap_test_ops = {
	.encap_hlen	= encap_test_hlen,
	.build_header	= encap_test_build,
};

static int __init encap_test_init(void)
{
	const struct ip_tunnel_encap_ops **slot;

	slot = (const struct ip_tunnel_encap_ops **)&iptun_encaps[TUNNEL_ENCAP_FOU];
	return cmpxchg(slot, NULL, &encap_test_ops) ? -EBUSY : 0;
}

static void __exit encap_test_exit(void)
{
	RCU_INIT_POINTER(iptun_encaps[TUNNEL_ENCAP_FOU], NULL);
	synchronize_net();
}

module_init(encap_test_init);
module_exit(encap_test_exit);
MODULE_DESCRIPTION("iptnl: a UDP encapsulation in the place of FOU's");
MODULE_LICENSE("GPL");
