// SPDX-License-Identifier: GPL-2.0
/*
 * gre: any ethertype in GRE (RFC 2784, RFC 2890) in IPv4.
 */
#include <linux/icmpv6.h>
#include <linux/if_arp.h>
#include <linux/module.h>
#include <net/gre.h>
#include <net/icmp.h>
#include <net/ip.h>

#include "gre_header.h"
#include "ip_tnl.h"
#include "iptnl_version.h"

static bool log_ecn_error = true;
module_param(log_ecn_error, bool, 0644);
MODULE_PARM_DESC(log_ecn_error, "Log packets received with corrupted ECN");

static struct ip_tnl_kind gre_kind;

/* Receive */

static struct ip_tnl_entry *gre_lookup(const struct sk_buff *skb, __be32 remote, __be32 local,
				       const struct gre_header *h)
{
	return ip_tnl_lookup(ip_tnl_net(dev_net(skb->dev), &gre_kind), skb->dev->ifindex,
			     remote, local, h->key, h->flags & GRE_KEY);
}

static int gre_rcv(struct sk_buff *skb)
{
	struct ip_tnl_packet pkt;
	const struct iphdr *iph;
	struct ip_tnl_entry *e;
	struct gre_header h;
	bool sum_ok;

	if (gre_header_parse(skb, 0, &h)) {
		ip_tnl_rcv_drop(skb);
		return 0;
	}
	sum_ok = !(h.flags & GRE_CSUM) || gre_checksum_ok(skb);
	iph = ip_hdr(skb);
	e = gre_lookup(skb, iph->saddr, iph->daddr, &h);
	if (!e) {
		if (sum_ok)
			icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
		ip_tnl_rcv_drop(skb);
		return 0;
	}
	if (!sum_ok) {
		ip_tnl_rcv_bad_csum(e, skb);
		return 0;
	}

	pkt = (struct ip_tnl_packet) {
		.options	= h.flags & GRE_OPTIONS,
		.proto		= h.proto,
		.seq		= h.seq,
		.hlen		= h.len,
	};
	ip_tnl_rcv(e, skb, &pkt, log_ecn_error);
	return 0;
}

/*
 * An error about an IPv6 payload goes on to the payload's sender, with as much
 * of the payload as RFC 4884 4.1 says the error quotes. Return: whether it did.
 */
static bool gre_relay_icmpv6(struct sk_buff *skb, const struct gre_header *h, int offset)
{
	const struct icmphdr *icmp = icmp_hdr(skb);
	int quoted = 0;

	if (!IS_ENABLED(CONFIG_IPV6) || h->proto != htons(ETH_P_IPV6))
		return false;
	if (icmp->type == ICMP_REDIRECT ||
	    (icmp->type == ICMP_DEST_UNREACH && icmp->code == ICMP_FRAG_NEEDED))
		return false;	/* the tunnel's own to act on */
	if (icmp->type == ICMP_TIME_EXCEEDED)
		quoted = icmp->un.reserved[1] * 4;
	return !ip6_err_gen_icmpv6_unreach(skb, offset + h->len, icmp->type, quoted);
}

/* Not every tunnel end that refuses a packet says that none will arrive. */
static bool gre_err_is_soft(const struct icmphdr *icmp)
{
	return icmp->type != ICMP_DEST_UNREACH || icmp->code != ICMP_PORT_UNREACH;
}

static void gre_err(struct sk_buff *skb, u32 info)
{
	int offset = ((const struct iphdr *)skb->data)->ihl * 4;
	const struct icmphdr *icmp = icmp_hdr(skb);
	const struct iphdr *quoted;
	struct ip_tnl_entry *e;
	struct gre_header h;

	if (icmp->type == ICMP_PARAMETERPROB || gre_header_parse(skb, offset, &h))
		return;
	icmp = icmp_hdr(skb);
	quoted = (const struct iphdr *)skb->data;
	e = gre_lookup(skb, quoted->daddr, quoted->saddr, &h);
	if (!e)
		return;

	if (gre_relay_icmpv6(skb, &h, offset))
		return;
	ip_tnl_err(e, skb, info, gre_err_is_soft(icmp));
}

static const struct gre_protocol gre_protocol = {
	.handler	= gre_rcv,
	.err_handler	= gre_err,
};

/* Transmit */

static netdev_tx_t gre_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_entry *e = rcu_dereference_bh(t->entry);
	__be16 proto = skb->protocol;
	struct ip_tnl_flow f;
	struct rtable *rt;
	u32 seq = 0;

	if (!e || !pskb_inet_may_pull(skb)) {
		DEV_STATS_INC(dev, tx_dropped);
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}

	ip_tnl_flow_init(&f, e);
	f.proto = IPPROTO_GRE;
	f.hlen = gre_options_len(f.options);
	f.gso_type = f.options & GRE_CSUM ? SKB_GSO_GRE_CSUM : SKB_GSO_GRE;
	rt = ip_tnl_tx_route(skb, dev, &f);
	if (rt) {
		if (f.options & GRE_SEQ)
			seq = atomic_fetch_inc(&t->tunnel.o_seqno);
		skb_set_inner_protocol(skb, proto);
		gre_header_push(skb, f.options, proto, f.key, seq);
		ip_tnl_tx_send(skb, rt, &f);
	}
	return NETDEV_TX_OK;
}

/* Segments of one packet would all get the same sequence number. */
static netdev_features_t gre_fix_features(struct net_device *dev, netdev_features_t features)
{
	const struct ip_tnl *t = netdev_priv(dev);
	const struct ip_tnl_entry *e = ip_tnl_entry_rtnl(t);

	return e && e->p.o_flags & GRE_SEQ ? features & ~NETIF_F_GSO_SOFTWARE : features;
}

/* Configuration */

static bool gre_protocol_ok(u8 protocol)
{
	return protocol == IPPROTO_GRE;
}

static int gre_parse_flags(struct nlattr *attr, __be16 *flags, struct netlink_ext_ack *extack)
{
	if (!attr)
		return 0;
	*flags = nla_get_be16(attr);
	if (*flags & (GRE_VERSION | GRE_ROUTING)) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "GRE version 0 without routing is all there is");
		return -EINVAL;
	}
	*flags &= GRE_OPTIONS;
	return 0;
}

static int gre_parse(struct nlattr *data[], struct ip_tnl_params *p,
		     struct netlink_ext_ack *extack)
{
	int err;

	err = gre_parse_flags(data[IFLA_GRE_IFLAGS], &p->i_flags, extack) ?:
	      gre_parse_flags(data[IFLA_GRE_OFLAGS], &p->o_flags, extack);
	if (err)
		return err;
	if (data[IFLA_GRE_IKEY])
		p->i_key = nla_get_be32(data[IFLA_GRE_IKEY]);
	if (data[IFLA_GRE_OKEY])
		p->o_key = nla_get_be32(data[IFLA_GRE_OKEY]);
	if (data[IFLA_GRE_IGNORE_DF])
		p->ignore_df = nla_get_u8(data[IFLA_GRE_IGNORE_DF]);
	if (p->ignore_df && p->df) {
		NL_SET_ERR_MSG(extack, "ignore-df and path MTU discovery exclude each other");
		return -EINVAL;
	}
	return 0;
}

static int gre_fill(struct sk_buff *skb, const struct ip_tnl_params *p)
{
	return	nla_put_be16(skb, IFLA_GRE_IFLAGS, p->i_flags) ?:
		nla_put_be16(skb, IFLA_GRE_OFLAGS, p->o_flags) ?:
		nla_put_be32(skb, IFLA_GRE_IKEY, p->i_key) ?:
		nla_put_be32(skb, IFLA_GRE_OKEY, p->o_key) ?:
		nla_put_u8(skb, IFLA_GRE_IGNORE_DF, p->ignore_df);
}

static const struct net_device_ops gre_netdev_ops = {
	.ndo_init		= ip_tnl_init,
	.ndo_uninit		= ip_tnl_uninit,
	.ndo_start_xmit		= gre_xmit,
	.ndo_fix_features	= gre_fix_features,
	.ndo_siocdevprivate	= ip_tnl_siocdevprivate,
	.ndo_change_mtu		= ip_tnl_change_mtu,
	.ndo_get_stats64	= dev_get_tstats64,
	.ndo_get_iflink		= ip_tnl_get_iflink,
};

static void gre_setup(struct net_device *dev)
{
	ip_tnl_setup(dev, &gre_kind);
	dev->netdev_ops = &gre_netdev_ops;
	dev->header_ops = &ip_tunnel_header_ops;
	dev->type = ARPHRD_IPGRE;
}

static const struct nla_policy gre_policy[IFLA_GRE_MAX + 1] = {
	[IFLA_GRE_LINK]			= { .type = NLA_U32 },
	[IFLA_GRE_IFLAGS]		= { .type = NLA_U16 },
	[IFLA_GRE_OFLAGS]		= { .type = NLA_U16 },
	[IFLA_GRE_IKEY]			= { .type = NLA_U32 },
	[IFLA_GRE_OKEY]			= { .type = NLA_U32 },
	[IFLA_GRE_LOCAL]		= { .type = NLA_U32 },
	[IFLA_GRE_REMOTE]		= { .type = NLA_U32 },
	[IFLA_GRE_TTL]			= { .type = NLA_U8 },
	[IFLA_GRE_TOS]			= { .type = NLA_U8 },
	[IFLA_GRE_PMTUDISC]		= { .type = NLA_U8 },
	[IFLA_GRE_ENCAP_TYPE]		= { .type = NLA_U16 },
	[IFLA_GRE_ENCAP_FLAGS]		= { .type = NLA_U16 },
	[IFLA_GRE_ENCAP_SPORT]		= { .type = NLA_U16 },
	[IFLA_GRE_ENCAP_DPORT]		= { .type = NLA_U16 },
	[IFLA_GRE_COLLECT_METADATA]	= { .type = NLA_FLAG },
	[IFLA_GRE_IGNORE_DF]		= { .type = NLA_U8 },
	[IFLA_GRE_FWMARK]		= { .type = NLA_U32 },
};

/* Namespaces and module */

static int __net_init gre_net_init(struct net *net)
{
	return ip_tnl_net_init(net, &gre_kind);
}

static void __net_exit gre_net_exit(struct net *net)
{
	ip_tnl_net_exit(net, &gre_kind);
}

static int __net_init gre_fallback_init(struct net *net)
{
	return ip_tnl_fallback_init(net, &gre_kind);
}

static void __net_exit gre_net_exit_rtnl(struct net *net, struct list_head *kill)
{
	ip_tnl_net_exit_rtnl(net, &gre_kind, kill);
}
DEFINE_PERNET_EXIT_RTNL(gre_net_exit_rtnl);

static struct ip_tnl_kind gre_kind = {
	.link_ops = {
		.kind		= "gre",
		.maxtype	= IFLA_GRE_MAX,
		.policy		= gre_policy,
		.setup		= gre_setup,
	},
	.table_ops = {
		.init		= gre_net_init,
		.exit		= gre_net_exit,
		.id		= &gre_kind.net_id,
		.size		= sizeof(struct ip_tnl_net),
	},
	.device_ops = {
		.init		= gre_fallback_init,
		PERNET_EXIT_RTNL(gre_net_exit_rtnl),
	},
	.fallback_name	= "gre0",
	.protocol	= IPPROTO_GRE,
	.fallback_protocol = IPPROTO_GRE,
	.options	= GRE_OPTIONS,
	.broadcast	= true,
	.attrs = {
		.link		= IFLA_GRE_LINK,
		.local		= IFLA_GRE_LOCAL,
		.remote		= IFLA_GRE_REMOTE,
		.ttl		= IFLA_GRE_TTL,
		.tos		= IFLA_GRE_TOS,
		.pmtudisc	= IFLA_GRE_PMTUDISC,
		.fwmark		= IFLA_GRE_FWMARK,
		.encap_type	= IFLA_GRE_ENCAP_TYPE,
		.encap_flags	= IFLA_GRE_ENCAP_FLAGS,
		.encap_sport	= IFLA_GRE_ENCAP_SPORT,
		.encap_dport	= IFLA_GRE_ENCAP_DPORT,
		.collect_md	= IFLA_GRE_COLLECT_METADATA,
	},
	.fill_size	= 2 * (NLA_HDRLEN + NLA_ALIGN(2)) + 2 * (NLA_HDRLEN + 4) +
			  NLA_HDRLEN + NLA_ALIGN(1),
	.protocol_ok	= gre_protocol_ok,
	.parse		= gre_parse,
	.fill		= gre_fill,
};

static int __init gre_init(void)
{
	int err;

	err = ip_tnl_kind_register(&gre_kind);
	if (err)
		return err;
	err = gre_add_protocol(&gre_protocol, GREPROTO_CISCO);
	if (err)
		ip_tnl_kind_unregister(&gre_kind);
	return err;
}

static void __exit gre_exit(void)
{
	gre_del_protocol(&gre_protocol, GREPROTO_CISCO);
	ip_tnl_kind_unregister(&gre_kind);
}

module_init(gre_init);
module_exit(gre_exit);
MODULE_DESCRIPTION("iptnl: GRE over IPv4 tunnels");
MODULE_LICENSE("GPL");
MODULE_VERSION(IPTNL_VERSION);
MODULE_ALIAS_RTNL_LINK("gre");
MODULE_ALIAS_NETDEV("gre0");
