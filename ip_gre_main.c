// SPDX-License-Identifier: GPL-2.0
/*
 * ip_gre: GRE (RFC 2784, RFC 2890) in IPv4, for three kinds of payload.
 *
 * This file: receive, for all of them, and the module. Below it:
 *
 *	ip_gre_l3.c		gre: any ethertype; neighbours are endpoints
 *	ip_gre_tap.c		gretap: Ethernet frames
 *	ip_gre_erspan.c		erspan: mirrored Ethernet frames
 *	ip_gre_ether.c		what gretap and erspan share
 *	ip_gre_tx.c		transmit, for all of them
 *	ip_gre_config.c		attributes, multicast groups
 *	ip_gre_vport.c		the gretap that openvswitch makes, before 7.3
 *	ip_gre_export.c		the symbol for that
 */
#include <linux/icmpv6.h>
#include <linux/if_arp.h>
#include <linux/module.h>
#include <net/dst_metadata.h>
#include <net/gre.h>
#include <net/icmp.h>
#include <net/ip.h>

#include "gre_header.h"
#include "ip_gre.h"
#include "iptnl_version.h"

static bool log_ecn_error = true;
module_param(log_ecn_error, bool, 0644);
MODULE_PARM_DESC(log_ecn_error, "Log packets received with corrupted ECN");

/* Receive */

static struct ip_tnl_entry *gre_lookup_kind(const struct sk_buff *skb,
					    const struct ip_tnl_kind *kind, __be32 remote,
					    __be32 local, const struct gre_header *h)
{
	return ip_tnl_lookup(ip_tnl_net_rcu(dev_net(skb->dev), kind), skb->dev->ifindex,
			     remote, local, h->key, h->keyed);
}

/* Frames that no gretap takes may be for a gre device, which delivers them raw. */
static struct ip_tnl_entry *gre_lookup(const struct sk_buff *skb, __be32 remote, __be32 local,
				       const struct gre_header *h)
{
	struct ip_tnl_entry *e = NULL;

	if (gre_is_erspan(h->proto))
		return gre_lookup_kind(skb, &ip_tnl_erspan_kind, remote, local, h);
	if (h->proto == htons(ETH_P_TEB))
		e = gre_lookup_kind(skb, &ip_tnl_gretap_kind, remote, local, h);
	return e ?: gre_lookup_kind(skb, &ip_tnl_gre_kind, remote, local, h);
}

/* Our own packet to a multicast group, come back: its route is an output route. */
static bool gre_is_looped(const struct sk_buff *skb)
{
	return ipv4_is_multicast(ip_hdr(skb)->daddr) && skb_rtable(skb) &&
	       rt_is_output_route(skb_rtable(skb));
}

/* A device without a fixed far end tells with each packet where it came from. */
static bool gre_wants_metadata(const struct ip_tnl_entry *e, const struct gre_header *h)
{
	return e->p.collect_md || (!e->p.remote && !gre_is_erspan(h->proto));
}

static struct metadata_dst *gre_metadata(struct sk_buff *skb, const struct gre_header *h)
{
	if (gre_is_erspan(h->proto))
		return ip_tnl_erspan_metadata(skb, h);
	return ip_tnl_rx_metadata(skb, h->flags & (GRE_CSUM | GRE_KEY), h->key, 0);
}

static int gre_rcv(struct sk_buff *skb)
{
	struct ip_tnl_packet pkt;
	const struct iphdr *iph;
	struct ip_tnl_entry *e;
	struct gre_header h;
	bool sum_ok;

	if (gre_is_looped(skb) || gre_header_parse(skb, 0, &h))
		goto drop;
	sum_ok = !(h.flags & GRE_CSUM) || gre_checksum_ok(skb);
	iph = ip_hdr(skb);
	e = gre_lookup(skb, iph->saddr, iph->daddr, &h);
	if (!e) {
		if (sum_ok)
			icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
		goto drop;
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
	if (gre_is_erspan(h.proto) && ip_tnl_erspan_pull(skb, &h, &pkt))
		goto drop;
	if (e->tnl->tunnel.dev->type == ARPHRD_ETHER && !pskb_may_pull(skb, pkt.hlen + ETH_HLEN))
		goto drop;
	if (gre_wants_metadata(e, &h)) {
		pkt.md = gre_metadata(skb, &h);
		if (!pkt.md)
			goto drop;
	}
	ip_tnl_rcv(e, skb, &pkt, READ_ONCE(log_ecn_error));
	return 0;

drop:
	ip_tnl_rcv_drop(skb);
	return 0;
}

/*
 * An error about an IPv6 payload goes on to the payload's sender, with as much
 * of the payload as RFC 4884 4.1 says the error quotes. Return: true if it did.
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

/* Not every endpoint that refuses a packet says that none will arrive. */
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
	bool soft;

	if (icmp->type == ICMP_PARAMETERPROB || gre_header_parse(skb, offset, &h))
		return;
	soft = gre_err_is_soft(icmp_hdr(skb));
	quoted = (const struct iphdr *)skb->data;
	e = gre_lookup(skb, quoted->daddr, quoted->saddr, &h);
	if (!e)
		return;

	if (gre_relay_icmpv6(skb, &h, offset))
		return;
	ip_tnl_err(e, skb, info, soft);
}

static const struct gre_protocol gre_protocol = {
	.handler	= gre_rcv,
	.err_handler	= gre_err,
};

/* Module */

static struct ip_tnl_kind *const gre_kinds[] = {
	&ip_tnl_gre_kind, &ip_tnl_gretap_kind, &ip_tnl_erspan_kind
};

static void gre_unregister_kinds(int n)
{
	while (n--)
		ip_tnl_kind_unregister(gre_kinds[n]);
}

static int __init gre_init(void)
{
	int i, err;

	err = ip_tnl_gso_hook();
	if (err)
		return err;
	for (i = 0; i < ARRAY_SIZE(gre_kinds); i++) {
		err = ip_tnl_gre_kind_register(gre_kinds[i]);
		if (err)
			goto unregister;
	}
	err = gre_add_protocol(&gre_protocol, GREPROTO_CISCO);
	if (err)
		goto unregister;
	return 0;

unregister:
	gre_unregister_kinds(i);
	ip_tnl_gso_unhook();
	return err;
}

static void __exit gre_exit(void)
{
	gre_del_protocol(&gre_protocol, GREPROTO_CISCO);
	gre_unregister_kinds(ARRAY_SIZE(gre_kinds));
	ip_tnl_gso_unhook();
}

module_init(gre_init);
module_exit(gre_exit);
MODULE_DESCRIPTION("iptnl: GRE over IPv4 tunnels");
MODULE_LICENSE("GPL");
MODULE_VERSION(IPTNL_VERSION);
IPTNL_NOTE;
MODULE_ALIAS_RTNL_LINK("gre");
MODULE_ALIAS_RTNL_LINK("gretap");
MODULE_ALIAS_RTNL_LINK("erspan");
MODULE_ALIAS_NETDEV("gre0");
MODULE_ALIAS_NETDEV("gretap0");
MODULE_ALIAS_NETDEV("erspan0");
