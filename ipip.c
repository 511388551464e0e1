// SPDX-License-Identifier: GPL-2.0
/*
 * ipip: IPv4 (RFC 2003) and MPLS (RFC 4023) in IPv4.
 *
 * There is no header between the outer IP header and the payload: this file is
 * what tells ip_tunnel_core so.
 */
#include <linux/if_arp.h>
#include <linux/module.h>
#include <net/ip.h>
#include <net/xfrm.h>

#include "ip_tnl.h"
#include "iptnl_version.h"

static bool log_ecn_error = true;
module_param(log_ecn_error, bool, 0644);
MODULE_PARM_DESC(log_ecn_error, "Log packets received with corrupted ECN");

static struct ip_tnl_kind ipip_kind;

/* Receive */

static struct ip_tnl_entry *ipip_lookup(const struct sk_buff *skb, __be32 remote, __be32 local)
{
	return ip_tnl_lookup(ip_tnl_net_rcu(dev_net(skb->dev), &ipip_kind), skb->dev->ifindex,
			     remote, local, 0, false);
}

/* Return: 0 with the skb consumed, or -1 for the next handler of tunnel4. */
static int ipip_rcv_proto(struct sk_buff *skb, u8 protocol, __be16 proto)
{
	struct ip_tnl_packet pkt = { .proto = proto };
	const struct iphdr *iph = ip_hdr(skb);
	struct ip_tnl_entry *e;

	e = ipip_lookup(skb, iph->saddr, iph->daddr);
	if (!e)
		return -1;
	if ((e->p.protocol && e->p.protocol != protocol) ||
	    !xfrm4_policy_check(NULL, XFRM_POLICY_IN, skb))
		goto drop;
	if (e->p.collect_md) {
		pkt.md = ip_tnl_rx_metadata(skb, 0, 0, 0);
		if (!pkt.md)
			goto drop;
	}
	ip_tnl_rcv(e, skb, &pkt, READ_ONCE(log_ecn_error));
	return 0;

drop:
	kfree_skb(skb);
	return 0;
}

static int ipip_rcv(struct sk_buff *skb)
{
	return ipip_rcv_proto(skb, IPPROTO_IPIP, htons(ETH_P_IP));
}

static int ipip_mpls_rcv(struct sk_buff *skb)
{
	return ipip_rcv_proto(skb, IPPROTO_MPLS, htons(ETH_P_MPLS_UC));
}

/* The quoted packet is one of ours: its source is our local address. */
static int ipip_err(struct sk_buff *skb, u32 info)
{
	const struct iphdr *quoted = (const struct iphdr *)skb->data;
	struct ip_tnl_entry *e = ipip_lookup(skb, quoted->daddr, quoted->saddr);

	return e ? ip_tnl_err(e, skb, info, true) : -ENOENT;
}

static struct xfrm_tunnel ipip_handler = {
	.handler	= ipip_rcv,
	.err_handler	= ipip_err,
	.priority	= 1,
};

static struct xfrm_tunnel ipip_mpls_handler = {
	.handler	= ipip_mpls_rcv,
	.err_handler	= ipip_err,
	.priority	= 1,
};

/* Transmit */

/* The outer protocol number that names this payload, or 0 if there is none. */
static u8 ipip_protocol_of(const struct sk_buff *skb)
{
	if (skb->protocol == htons(ETH_P_IP))
		return IPPROTO_IPIP;
	if (skb->protocol == htons(ETH_P_MPLS_UC))
		return IPPROTO_MPLS;
	return 0;
}

static netdev_tx_t ipip_xmit(struct sk_buff *skb, struct net_device *dev)
{
	const struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_entry *e = rcu_dereference_bh(t->entry);
	u8 protocol = ipip_protocol_of(skb);
	struct ip_tnl_flow f;
	struct rtable *rt;

	if (!e || !protocol || (e->p.protocol && e->p.protocol != protocol) ||
	    !pskb_inet_may_pull(skb) || !ip_tnl_flow_init(&f, e, skb)) {
		DEV_STATS_INC(dev, tx_errors);
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}

	f.proto = protocol;
	f.gso_type = SKB_GSO_IPXIP4;
	rt = ip_tnl_tx_prepare(skb, dev, &f);
	if (rt) {
		skb_set_inner_ipproto(skb, protocol);
		ip_tnl_tx_send(skb, rt, &f);
	}
	return NETDEV_TX_OK;
}

/*
 * ndo_fill_forward_path: the flow table will write the outer header itself, and
 * knows of nothing but addresses, so whatever has more to say stays out of it.
 * Context: RCU.
 */
static int ipip_fill_forward_path(struct net_device_path_ctx *ctx, struct net_device_path *path)
{
	const struct ip_tnl *t = netdev_priv(ctx->dev);
	const struct ip_tnl_entry *e = rcu_dereference(t->entry);
	struct net_device *out;
	struct rtable *rt;
	__be32 saddr;

	if (!e || e->p.collect_md || !e->p.remote || e->p.encap.type != TUNNEL_ENCAP_NONE ||
	    e->p.protocol == IPPROTO_MPLS || !forward_path_is_ipv4(ctx) ||
	    !net_eq(t->tunnel.net, dev_net(ctx->dev)))
		return -EOPNOTSUPP;
	rt = ip_tnl_route(t->tunnel.net, &e->p, &saddr);
	if (IS_ERR(rt))
		return PTR_ERR(rt);
	out = READ_ONCE(rt->dst.dev);	/* the caller's RCU section keeps it */
	if (out == ctx->dev) {
		ip_rt_put(rt);
		return -ELOOP;
	}
	path->dev = ctx->dev;
	ctx->dev = out;
	if (!forward_path_set_tun(path, &rt->dst, saddr, e->p.remote))
		ip_rt_put(rt);
	return 0;
}

/* Configuration */

static bool ipip_protocol_ok(u8 protocol)
{
	return protocol == 0 || protocol == IPPROTO_IPIP || protocol == IPPROTO_MPLS;
}

static int ipip_parse(struct nlattr *data[], struct ip_tnl_params *p,
		      struct netlink_ext_ack *extack)
{
	if (data[IFLA_IPTUN_PROTO])
		p->protocol = nla_get_u8(data[IFLA_IPTUN_PROTO]);
	if (!ipip_protocol_ok(p->protocol)) {
		NL_SET_ERR_MSG_ATTR(extack, data[IFLA_IPTUN_PROTO],
				    "ipip carries IPv4 (4), MPLS (137) or any (0)");
		return -EINVAL;
	}
	if (p->ttl)
		p->df = htons(IP_DF);
	return 0;
}

static void ipip_fill(struct sk_buff *skb, const struct ip_tnl_params *p)
{
	ip_tnl_put(skb, IFLA_IPTUN_PROTO, p->protocol);
}

static int ipip_prepare(struct net_device *dev, const struct ip_tnl_params *p,
			struct netlink_ext_ack *extack)
{
	if (p->remote)
		dev->flags |= IFF_POINTOPOINT;
	return 0;
}

/* vmlinux makes tunnels for multicast routing (DVMRP) by this. */
static int ipip_tunnel_ctl(struct net_device *dev, struct ip_tunnel_parm_kern *k, int cmd)
{
	struct ip_tunnel_parm u = { .link = k->link, .iph = k->iph };
	int err;

	strscpy(u.name, k->name, sizeof(u.name));
	err = ip_tnl_ctl(dev, &u, cmd);
	if (err)
		return err;
	strscpy(k->name, u.name, sizeof(k->name));
	k->link = u.link;
	k->iph = u.iph;
	return 0;
}

static const struct net_device_ops ipip_netdev_ops = {
	.ndo_init		= ip_tnl_init,
	.ndo_uninit		= ip_tnl_uninit,
	.ndo_start_xmit		= ipip_xmit,
	.ndo_fix_features	= ip_tnl_fix_features,
	.ndo_siocdevprivate	= ip_tnl_siocdevprivate,
	.ndo_change_mtu		= ip_tnl_change_mtu,
	.ndo_get_stats64	= dev_get_tstats64,
	.ndo_get_iflink		= ip_tnl_get_iflink,
	.ndo_tunnel_ctl		= ipip_tunnel_ctl,
	.ndo_fill_forward_path	= FORWARD_PATH_TUN(ipip_fill_forward_path),
};

static void ipip_setup(struct net_device *dev)
{
	ip_tnl_setup(dev, &ipip_kind);
	dev->netdev_ops = &ipip_netdev_ops;
	dev->header_ops = &ip_tunnel_header_ops;
	dev->type = ARPHRD_TUNNEL;
}

static const struct nla_policy ipip_policy[IFLA_IPTUN_MAX + 1] = {
	[IFLA_IPTUN_LINK]		= { .type = NLA_U32 },
	[IFLA_IPTUN_LOCAL]		= { .type = NLA_U32 },
	[IFLA_IPTUN_REMOTE]		= { .type = NLA_U32 },
	[IFLA_IPTUN_TTL]		= { .type = NLA_U8 },
	[IFLA_IPTUN_TOS]		= { .type = NLA_U8 },
	[IFLA_IPTUN_PROTO]		= { .type = NLA_U8 },
	[IFLA_IPTUN_PMTUDISC]		= { .type = NLA_U8 },
	[IFLA_IPTUN_ENCAP_TYPE]		= { .type = NLA_U16 },
	[IFLA_IPTUN_ENCAP_FLAGS]	= { .type = NLA_U16 },
	[IFLA_IPTUN_ENCAP_SPORT]	= { .type = NLA_U16 },
	[IFLA_IPTUN_ENCAP_DPORT]	= { .type = NLA_U16 },
	[IFLA_IPTUN_COLLECT_METADATA]	= { .type = NLA_FLAG },
	[IFLA_IPTUN_FWMARK]		= { .type = NLA_U32 },
};

/* Namespaces and module */

DEFINE_IP_TNL_PERNET(ipip_kind);

static struct ip_tnl_kind ipip_kind = {
	.link_ops = {
		.kind		= "ipip",
		.maxtype	= IFLA_IPTUN_MAX,
		.policy		= ipip_policy,
		.setup		= ipip_setup,
	},
	IP_TNL_PERNET(ipip_kind),
	.fallback_name	= "tunl0",
	.defaults	= { .protocol = IPPROTO_IPIP },
	.attrs = {
		.link		= IFLA_IPTUN_LINK,
		.local		= IFLA_IPTUN_LOCAL,
		.remote		= IFLA_IPTUN_REMOTE,
		.ttl		= IFLA_IPTUN_TTL,
		.tos		= IFLA_IPTUN_TOS,
		.pmtudisc	= IFLA_IPTUN_PMTUDISC,
		.fwmark		= IFLA_IPTUN_FWMARK,
		.encap_type	= IFLA_IPTUN_ENCAP_TYPE,
		.encap_flags	= IFLA_IPTUN_ENCAP_FLAGS,
		.encap_sport	= IFLA_IPTUN_ENCAP_SPORT,
		.encap_dport	= IFLA_IPTUN_ENCAP_DPORT,
		.collect_md	= IFLA_IPTUN_COLLECT_METADATA,
	},
	.fill_size	= NLA_HDRLEN + NLA_ALIGN(1),
	.protocol_ok	= ipip_protocol_ok,
	.prepare	= ipip_prepare,
	.parse		= ipip_parse,
	.fill		= ipip_fill,
};

static int __init ipip_init(void)
{
	int err;

	err = ip_tnl_kind_register(&ipip_kind);
	if (err)
		return err;
	err = xfrm4_tunnel_register(&ipip_handler, AF_INET);
	if (err)
		goto unregister_kind;
	err = xfrm4_tunnel_register(&ipip_mpls_handler, AF_MPLS);
	if (err)
		goto unregister_ipip;
	return 0;

unregister_ipip:
	xfrm4_tunnel_deregister(&ipip_handler, AF_INET);
unregister_kind:
	ip_tnl_kind_unregister(&ipip_kind);
	return err;
}

static void __exit ipip_exit(void)
{
	xfrm4_tunnel_deregister(&ipip_mpls_handler, AF_MPLS);
	xfrm4_tunnel_deregister(&ipip_handler, AF_INET);
	ip_tnl_kind_unregister(&ipip_kind);
}

module_init(ipip_init);
module_exit(ipip_exit);
MODULE_DESCRIPTION("iptnl: IPv4 and MPLS in IPv4 tunnels");
MODULE_LICENSE("GPL");
MODULE_VERSION(IPTNL_VERSION);
IPTNL_NOTE;
MODULE_ALIAS_RTNL_LINK("ipip");
MODULE_ALIAS_NETDEV("tunl0");
