// SPDX-License-Identifier: GPL-2.0
/*
 * ICMP errors that the underlay sends about outer packets.
 */
#include <linux/icmp.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/route.h>

#include "ip_tnl_internal.h"

/*
 * Return true if an error says that packets do not arrive, rather than something that
 * passes by itself or that the tunnel's user brought about: a payload's own TTL
 * that ran out inside the underlay is the payload's business.
 */
static bool ip_tnl_err_counts(const struct icmphdr *icmp, const struct ip_tnl_params *p)
{
	switch (icmp->type) {
	case ICMP_DEST_UNREACH:
		return icmp->code != ICMP_SR_FAILED && icmp->code != ICMP_FRAG_NEEDED;
	case ICMP_TIME_EXCEEDED:
		return icmp->code == ICMP_EXC_TTL && p->ttl;
	}
	return false;
}

/**
 * ip_tnl_err() - an ICMP error about a packet that a tunnel sent
 * @e: configuration of the tunnel that sent it
 * @skb: data at the quoted outer IP header, of which at least 8 bytes of
 *	payload are linear; not consumed
 * @info: next hop MTU or gateway, as ICMP error handlers receive it
 * @soft: false if this error is not to count as a soft error
 *
 * A path MTU or redirect is applied to the route that the tunnel itself uses,
 * which is the one over its own link. Any other error is remembered for
 * %IPTUNNEL_ERR_TIMEO, for transmit to tell the senders (RFC 2003 section 4).
 *
 * Context: RCU read side, softirq.
 *
 * Return: 0 if the error was taken, -ENOENT
 * if the tunnel has no remote that it could be about.
 */
int ip_tnl_err(const struct ip_tnl_entry *e, struct sk_buff *skb, u32 info, bool soft)
{
	const struct iphdr *quoted = (const struct iphdr *)skb->data;
	const struct icmphdr *icmp = icmp_hdr(skb);
	struct ip_tunnel *t = &e->tnl->tunnel;
	int count;

	if (icmp->type == ICMP_DEST_UNREACH && icmp->code == ICMP_FRAG_NEEDED) {
		ipv4_update_pmtu(skb, t->net, info, e->p.link, quoted->protocol);
		return 0;
	}
	if (icmp->type == ICMP_REDIRECT) {
		ipv4_redirect(skb, t->net, e->p.link, quoted->protocol);
		return 0;
	}

	if (!e->p.remote || ipv4_is_multicast(e->p.remote))
		return -ENOENT;
	if (!soft || !ip_tnl_err_counts(icmp, &e->p))
		return 0;

	count = READ_ONCE(t->err_count);
	if (time_after_eq(jiffies, READ_ONCE(t->err_time) + IPTUNNEL_ERR_TIMEO))
		count = 0;
	WRITE_ONCE(t->err_count, count + 1);
	WRITE_ONCE(t->err_time, jiffies);
	return 0;
}
EXPORT_SYMBOL_GPL(ip_tnl_err);
