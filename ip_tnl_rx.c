// SPDX-License-Identifier: GPL-2.0
/*
 * Receive: from the outer IP header to the inner packet's own stack.
 *
 *	ipip_rcv / gre_rcv	read the outer header, ip_tnl_lookup()
 *	ip_tnl_rcv		checks, pull, ECN, counters, ip_tnl_backlog_enqueue()
 *
 * A packet ends in one of two places: ip_tnl_backlog_enqueue(), or the label that counts
 * an error of the device and frees the packet.
 */
#include <linux/etherdevice.h>
#include <linux/hash.h>
#include <linux/if_arp.h>
#include <linux/local_lock.h>
#include <linux/udp.h>
#include <net/dst_metadata.h>
#include <net/gre.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/mpls.h>

#include "ip_tnl_internal.h"

/*
 * RFC 2890 2.2: a packet whose number is less than the expected one is out of sequence. The
 * first packet never is. A GSO packet has @count numbers. Of several CPUs that receive for
 * one tunnel only one can take a number.
 */
static bool ip_tnl_seq_ok(struct ip_tunnel *t, u32 seq, u16 count)
{
	u32 expected = READ_ONCE(t->i_seqno);

	do {
		if (expected && (s32)(seq - expected) < 0)
			return false;
	} while (!try_cmpxchg(&t->i_seqno, &expected, seq + count));
	return true;
}

/* Arguments by value: a pointer would force the caller to keep them in memory. */
static noinline void ip_tnl_log_ecn(const struct net_device *dev, __be32 saddr, u8 tos)
{
	net_info_ratelimited("%s: non-ECT from %pI4 with TOS=%#x\n", dev->name, &saddr, tos);
}

/*
 * RFC 6040 4.2. An IP header of the payload is linear, the caller has checked. Return: false
 * if the packet is to be dropped.
 */
static bool ip_tnl_ecn_ok(struct sk_buff *skb, __be32 saddr, u8 outer, bool log)
{
	u8 inner;
	int level;

	if (INET_ECN_is_not_ect(outer))
		return true;
	if (skb->protocol == htons(ETH_P_IP))
		inner = ip_hdr(skb)->tos;
	else if (skb->protocol == htons(ETH_P_IPV6))
		inner = ipv6_get_dsfield(ipv6_hdr(skb));
	else
		return true;

	level = INET_ECN_decapsulate(skb, outer, inner);
	if (unlikely(level && log))
		ip_tnl_log_ecn(skb->dev, saddr, outer);
	return level < 2;
}

/*
 * Metadata without options are the same for all packets of a peer, which share them. The
 * latest are cached, on each CPU, by the peer's address.
 */
#define IP_TNL_MD_BITS	4

struct ip_tnl_md_cache {
	local_lock_t		bh_lock;	/* where softirqs can be preempted */
	struct metadata_dst	*md[1 << IP_TNL_MD_BITS];
};

static struct ip_tnl_md_cache __percpu *ip_tnl_md_cache;

/**
 * ip_tnl_rx_init() - what ip_tnl_rx_metadata() needs
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM.
 */
int ip_tnl_rx_init(void)
{
	int cpu;

	ip_tnl_md_cache = alloc_percpu(struct ip_tnl_md_cache);
	if (!ip_tnl_md_cache)
		return -ENOMEM;
	for_each_possible_cpu(cpu)
		local_lock_init(&per_cpu_ptr(ip_tnl_md_cache, cpu)->bh_lock);
	return 0;
}

/**
 * ip_tnl_rx_exit() - undo ip_tnl_rx_init()
 *
 * Context: process; there is no tunnel any more.
 */
void ip_tnl_rx_exit(void)
{
	struct ip_tnl_md_cache *cache;
	int cpu, i;

	for_each_possible_cpu(cpu) {
		cache = per_cpu_ptr(ip_tnl_md_cache, cpu);
		for (i = 0; i < ARRAY_SIZE(cache->md); i++)
			if (cache->md[i])
				dst_release(&cache->md[i]->dst);
	}
	free_percpu(ip_tnl_md_cache);
}

/* The UDP header behind an outer IP header, if the packet was encapsulated in UDP. */
static const struct udphdr *ip_tnl_udp_header(const struct iphdr *iph)
{
	return iph->protocol == IPPROTO_UDP ? (const void *)iph + iph->ihl * 4 : NULL;
}

/* Return true if metadata are those of a packet with these flags and this key. */
static bool ip_tnl_metadata_fit(const struct metadata_dst *md, const struct iphdr *iph,
				ip_tnl_flags_arg flags, __be64 id)
{
	const struct ip_tunnel_info *info = &md->u.tun_info;
	const struct udphdr *uh = ip_tnl_udp_header(iph);

	return info->key.u.ipv4.src == iph->saddr && info->key.u.ipv4.dst == iph->daddr &&
	       info->key.tun_id == id && info->key.tos == iph->tos && info->key.ttl == iph->ttl &&
	       ip_tnl_flags_equal(info->key.tun_flags, flags) &&
	       info->encap.sport == (uh ? uh->source : 0) &&
	       info->encap.dport == (uh ? uh->dest : 0);
}

static struct metadata_dst *ip_tnl_new_metadata(struct sk_buff *skb, ip_tnl_flags_arg flags,
						__be64 id, int opt_size)
{
	struct metadata_dst *md = ip_tun_rx_dst(skb, flags, id, opt_size);
	const struct udphdr *uh = ip_tnl_udp_header(ip_hdr(skb));

	if (md && uh) {
		md->u.tun_info.encap.sport = uh->source;
		md->u.tun_info.encap.dport = uh->dest;
	}
	return md;
}

/* Metadata without options, from the cache if they match. */
static struct metadata_dst *ip_tnl_shared_metadata(struct sk_buff *skb, ip_tnl_flags_arg flags,
						   __be64 id)
{
	const struct iphdr *iph = ip_hdr(skb);
	struct metadata_dst *md, **slot;

	local_lock_nested_bh(&ip_tnl_md_cache->bh_lock);
	slot = &this_cpu_ptr(ip_tnl_md_cache)->md[hash_32((__force u32)iph->saddr, IP_TNL_MD_BITS)];
	md = *slot;
	if (!md || !ip_tnl_metadata_fit(md, iph, flags, id)) {
		if (md)
			dst_release(&md->dst);
		md = ip_tnl_new_metadata(skb, flags, id, 0);
		*slot = md;
	}
	if (md)
		dst_hold(&md->dst);
	local_unlock_nested_bh(&ip_tnl_md_cache->bh_lock);
	return md;
}

/**
 * ip_tnl_rx_metadata() - what the outer header says, for whoever asks the packet
 * @skb: packet, network header at the outer IP header, transport header behind it
 * @options: GRE wire flags to report
 * @key: tunnel id, as a GRE key in network byte order
 * @opt_size: bytes to reserve for options, which the caller fills; if 0, the metadata are
 *	shared and must not be changed
 *
 * Includes the outer DF bit and, behind a UDP encapsulation, its ports.
 *
 * Context: RCU read side, softirq.
 *
 * Return: metadata for &ip_tnl_packet.md, or NULL when out of memory.
 */
struct metadata_dst *ip_tnl_rx_metadata(struct sk_buff *skb, __be16 options, __be32 key,
					int opt_size)
{
	__be64 id = key32_to_tunnel_id(key);
	IP_TUNNEL_DECLARE_FLAGS(flags);

	gre_flags_to_tnl_flags(flags, options);
	if (ip_hdr(skb)->frag_off & htons(IP_DF))
		ip_tnl_flag_set(flags, DONT_FRAGMENT);
	if (opt_size)
		return ip_tnl_new_metadata(skb, flags, id, opt_size);
	return ip_tnl_shared_metadata(skb, flags, id);
}
EXPORT_SYMBOL_GPL(ip_tnl_rx_metadata);

/*
 * To the payload's stack. The transport header is still the outer one, which must not be
 * taken for the inner one. MPLS forwarding does not set it, but GSO needs it: so it is set
 * here for such packets.
 */
static void ip_tnl_deliver(struct sk_buff *skb)
{
	if (eth_p_mpls(skb->protocol) && skb_is_gso(skb) && skb->ip_summed == CHECKSUM_PARTIAL)
		skb_set_transport_header(skb, skb_checksum_start_offset(skb));
	else
		skb_unset_transport_header(skb);
	ip_tnl_backlog_enqueue(skb);
}

/* RFC 2890. Return: false if the packet lacks a checksum or valid number that it needs. */
static bool ip_tnl_options_ok(const struct ip_tnl_entry *e, const struct sk_buff *skb,
			      const struct ip_tnl_packet *pkt)
{
	struct ip_tunnel *t = &e->tnl->tunnel;

	if (e->p.i_flags & ~pkt->options & GRE_CSUM) {
		DEV_STATS_INC(t->dev, rx_crc_errors);
		return false;
	}
	if (e->p.i_flags & GRE_SEQ &&
	    !(pkt->options & GRE_SEQ && ip_tnl_seq_ok(t, pkt->seq, ip_tnl_segments(skb)))) {
		DEV_STATS_INC(t->dev, rx_fifo_errors);
		return false;
	}
	return true;
}

/* With one of these types, the SCTP bit of a payload marks a numbered GSO packet. */
#define IP_TNL_GSO_TRANSPORT	(SKB_GSO_TCPV4 | SKB_GSO_TCPV6 | SKB_GSO_UDP_L4)

static int ip_tnl_pull_offloads(struct sk_buff *skb)
{
	int err = iptunnel_pull_offloads(skb);

	if (err || !skb_is_gso(skb))
		return err;
	skb_gso_pull_fixedid(skb);
	if (skb_shinfo(skb)->gso_type & IP_TNL_GSO_TRANSPORT)
		skb_shinfo(skb)->gso_type &= ~IP_TNL_GSO_NUMBERED;
	return 0;
}

/*
 * Pulls the headers and scrubs the packet. Return: 0, -ENOMEM, or -EINVAL for a packet that
 * is shorter than @len.
 */
static int ip_tnl_pull_header(struct sk_buff *skb, unsigned int len, bool xnet)
{
	const void *start;

	if (unlikely(!pskb_may_pull(skb, len)))
		return -EINVAL;
	start = skb->data;
	__skb_pull(skb, len);
	skb_postpull_rcsum(skb, start, len);
	skb_clear_hash_if_not_l4(skb);
	__vlan_hwaccel_clear_tag(skb);
	skb_set_queue_mapping(skb, 0);
	skb_scrub_packet(skb, xnet);
	return ip_tnl_pull_offloads(skb);
}

/* The payload's link-layer header; on an NBMA device that is the outer header. */
static void ip_tnl_set_mac_header(struct sk_buff *skb, struct net_device *dev)
{
	if (dev->type == ARPHRD_ETHER) {
		skb->protocol = eth_type_trans(skb, dev);
		skb_postpull_rcsum(skb, eth_hdr(skb), ETH_HLEN);
	} else if (READ_ONCE(dev->hard_header_len)) {
		skb_pop_mac_header(skb);
	} else {
		skb_reset_mac_header(skb);
	}
}

/* Length of the basic IP header that a payload of this protocol has. */
static unsigned int ip_tnl_inner_hlen(const struct sk_buff *skb)
{
	if (skb->protocol == htons(ETH_P_IP))
		return sizeof(struct iphdr);
	return skb->protocol == htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : 0;
}

/**
 * ip_tnl_rcv() - deliver a packet out of its tunnel
 * @e: the tunnel's configuration, from ip_tnl_lookup()
 * @skb: network header at the outer IP header, data right behind it; consumed.
 *	For an Ethernet device, linear up to the end of the frame's header.
 * @pkt: what the header between outer IP header and payload says; its metadata
 *	is consumed
 * @log_ecn: report ECN marks that make no sense
 *
 * The outer header is read before the packet is pulled, which may move it.
 * (ip_tnl_pull_header() does what __iptunnel_pull_header() does, with one function call
 * less for each packet.)
 *
 * Context: RCU read side, softirq.
 */
void ip_tnl_rcv(const struct ip_tnl_entry *e, struct sk_buff *skb,
		const struct ip_tnl_packet *pkt, bool log_ecn)
{
	const struct iphdr *iph = ip_hdr(skb);
	struct ip_tunnel *t = &e->tnl->tunnel;
	struct net_device *dev = t->dev;
	const __be32 saddr = iph->saddr;
	const u8 tos = iph->tos;
	unsigned int len;

	if (unlikely(ipv4_is_multicast(iph->daddr)))
		DEV_STATS_INC(dev, multicast);
	if (e->p.i_flags & (GRE_CSUM | GRE_SEQ) && !ip_tnl_options_ok(e, skb, pkt))
		goto error;
	if (iph->protocol == IPPROTO_UDP)
		skb_clear_hash(skb);	/* of the outer flow */
	if (ip_tnl_pull_header(skb, pkt->hlen, !net_eq(READ_ONCE(t->net), dev_net(dev))))
		goto too_short;
	skb->protocol = pkt->proto;
	skb->dev = dev;
	len = skb->len;
	ip_tnl_set_mac_header(skb, dev);
	skb_reset_network_header(skb);
	if (!pskb_may_pull(skb, ip_tnl_inner_hlen(skb)))
		goto too_short;
	if (!ip_tnl_ecn_ok(skb, saddr, tos, log_ecn)) {
		DEV_STATS_INC(dev, rx_frame_errors);
		goto error;
	}
	dev_sw_netstats_rx_add(dev, len);
	if (pkt->md)
		skb_dst_set(skb, &pkt->md->dst);
	ip_tnl_deliver(skb);
	return;

too_short:
	DEV_STATS_INC(dev, rx_length_errors);
error:
	DEV_STATS_INC(dev, rx_errors);
	if (pkt->md)
		dst_release(&pkt->md->dst);
	kfree_skb(skb);
}
EXPORT_SYMBOL_GPL(ip_tnl_rcv);

/**
 * ip_tnl_rcv_bad_csum() - drop a packet whose GRE checksum is wrong
 * @e: configuration of the tunnel that it claims to be for
 * @skb: consumed
 *
 * Context: RCU read side.
 */
void ip_tnl_rcv_bad_csum(const struct ip_tnl_entry *e, struct sk_buff *skb)
{
	struct net_device *dev = e->tnl->tunnel.dev;

	DEV_STATS_INC(dev, rx_crc_errors);
	DEV_STATS_INC(dev, rx_errors);
	kfree_skb(skb);
}
EXPORT_SYMBOL_GPL(ip_tnl_rcv_bad_csum);

/**
 * ip_tnl_rcv_drop() - drop a packet that no tunnel is responsible for
 * @skb: counted as dropped on the underlay device that it came in by; consumed
 *
 * Context: softirq.
 */
void ip_tnl_rcv_drop(struct sk_buff *skb)
{
	dev_core_stats_rx_dropped_inc(skb->dev);
	kfree_skb(skb);
}
EXPORT_SYMBOL_GPL(ip_tnl_rcv_drop);
