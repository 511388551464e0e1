// SPDX-License-Identifier: GPL-2.0
/*
 * erspan: Ethernet frames that a mirror port copied, in GRE.
 *
 * draft-foschiano-erspan. Type I is a bare GRE header; type II (version 1) has
 * a header with the session, VLAN, class of service and port index; type III
 * (version 2) has a time stamp, direction and hardware id instead of the index,
 * and may have a platform specific header behind those.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <linux/module.h>
#include <net/dst_metadata.h>
#include <net/erspan.h>
#include <net/gre.h>
#include <net/inet_ecn.h>
#include <net/ip.h>
#include <net/ipv6.h>

#include "gre_header.h"
#include "ip_gre.h"

#define ERSPAN_PLATFORM_LEN	8	/* bytes of the platform specific header */

/* The ERSPAN header as it is on the wire; types II and III by their length. */
struct erspan_header {
	struct erspan_base_hdr	base;
	union {
		__be32			index;
		struct erspan_md2	md2;
	};
};

/* Receive */

/* Bytes of the ERSPAN header, which is linear on success, or -EINVAL. */
static int erspan_header_len(struct sk_buff *skb, const struct gre_header *h)
{
	const struct erspan_header *eh;
	int len = erspan_hdr_len(h->erspan_ver);

	if (h->erspan_ver > ERSPAN_VERSION2 || (h->keyed && !h->erspan_ver))
		return -EINVAL;
	if (!pskb_may_pull(skb, h->len + len))
		return -EINVAL;
	if (h->erspan_ver == ERSPAN_VERSION2) {
		eh = (const struct erspan_header *)(skb->data + h->len);
		if (eh->md2.o)
			len += ERSPAN_PLATFORM_LEN;
	}
	return len;
}

/**
 * ip_tnl_erspan_pull() - read the ERSPAN header of a received packet
 * @skb: packet, GRE header at skb->data; may be pulled
 * @h: its GRE header
 * @pkt: the length of the ERSPAN header is added
 *
 * Return: 0, or -EINVAL for a header that is cut short or of an unknown version.
 */
int ip_tnl_erspan_pull(struct sk_buff *skb, const struct gre_header *h, struct ip_tnl_packet *pkt)
{
	int len = erspan_header_len(skb, h);

	if (len < 0)
		return len;
	pkt->hlen += len;
	return 0;
}

/**
 * ip_tnl_erspan_metadata() - what an external device reports of a packet
 * @skb: packet after ip_tnl_erspan_pull()
 * @h: its GRE header
 *
 * The session is the key, the rest of the ERSPAN header an option.
 *
 * Return: metadata, or NULL when out of memory.
 */
struct metadata_dst *ip_tnl_erspan_metadata(struct sk_buff *skb, const struct gre_header *h)
{
	const struct erspan_header *eh;
	struct erspan_metadata *opt;
	struct ip_tunnel_info *info;
	struct metadata_dst *md;

	md = ip_tnl_rx_metadata(skb, (h->keyed ? GRE_KEY : 0) | (h->flags & GRE_SEQ), h->key,
				h->erspan_ver ? sizeof(*opt) : 0);
	if (!md || !h->erspan_ver)
		return md;
	info = &md->u.tun_info;
	info->options_len = sizeof(*opt);
	ip_tnl_flag_set(info->key.tun_flags, ERSPAN_OPT);
	opt = ip_tunnel_info_opts(info);
	eh = (const struct erspan_header *)(skb->data + h->len);
	*opt = (struct erspan_metadata) { .version = h->erspan_ver };
	if (h->erspan_ver == ERSPAN_VERSION)
		opt->u.index = eh->index;
	else
		opt->u.md2 = eh->md2;
	return md;
}

/* Transmit */

/* The three bits of class of service: DSCP's upper ones, if there is a DSCP. */
static u8 erspan_cos(const struct sk_buff *skb, __be16 payload)
{
	if (payload == htons(ETH_P_IP))
		return tos_to_cos(ip_hdr(skb)->tos);
	if (payload == htons(ETH_P_IPV6))
		return tos_to_cos(ipv6_get_dsfield(ipv6_hdr(skb)));
	return 0;
}

/*
 * Cuts a frame that is longer than the device takes. A checksum that is still to be
 * filled in covers the whole frame, and its place may be cut off. Return: 0 or an errno.
 */
static int erspan_cut(struct sk_buff *skb, unsigned int longest)
{
	if (skb->ip_summed == CHECKSUM_PARTIAL && skb_checksum_help(skb))
		return -ENOMEM;
	return pskb_trim(skb, longest);
}

/* Return true if the frame is shorter than the packet in it says. */
static bool erspan_is_cut(const struct sk_buff *skb, __be16 payload)
{
	unsigned int len = skb->len - skb_network_offset(skb);

	if (payload == htons(ETH_P_IP))
		return ntohs(ip_hdr(skb)->tot_len) > len;
	if (payload == htons(ETH_P_IPV6))
		return ntohs(ipv6_hdr(skb)->payload_len) + sizeof(struct ipv6hdr) > len;
	return false;
}

/*
 * Writes the header of a frame, Ethernet header at skb->data. Of the flow and
 * @opt: session, version, index or direction and hardware id.
 */
static void erspan_build(struct erspan_header *eh, const struct sk_buff *skb,
			 const struct ip_tnl_flow *f, const struct erspan_metadata *opt, bool cut)
{
	const struct vlan_ethhdr *veth = (const struct vlan_ethhdr *)skb->data;
	bool tagged = veth->h_vlan_proto == htons(ETH_P_8021Q) &&
		      skb_headlen(skb) >= VLAN_ETH_HLEN;

	memset(eh, 0, sizeof(*eh));
	eh->base.ver = opt->version;
	eh->base.cos = erspan_cos(skb, f->inner_proto);
	eh->base.t = cut;
	set_session_id(&eh->base, be32_to_cpu(f->key));
	if (tagged)
		set_vlan(&eh->base, ntohs(veth->h_vlan_TCI));

	if (opt->version == ERSPAN_VERSION) {
		eh->base.en = tagged ? ERSPAN_ENCAP_INFRAME : ERSPAN_ENCAP_NOVLAN;
		eh->index = opt->u.index & cpu_to_be32(INDEX_MASK);
		return;
	}
	eh->base.en = skb->len < ETH_ZLEN ? BSO_SHORT :
		      skb->len > ETH_FRAME_LEN ? BSO_OVERSIZED : BSO_NOERROR;
	eh->md2.timestamp = erspan_get_timestamp();
	eh->md2.p = 1;
	eh->md2.dir = opt->u.md2.dir;
	set_hwid(&eh->md2, get_hwid(&opt->u.md2));
}

/* What is said of every frame of a tunnel. */
static void erspan_configured(const struct ip_tnl_params *p, struct erspan_metadata *opt)
{
	*opt = (struct erspan_metadata) { .version = p->erspan_ver };
	if (p->erspan_ver == ERSPAN_VERSION) {
		opt->u.index = cpu_to_be32(p->erspan_index);
	} else {
		opt->u.md2.dir = p->erspan_dir;
		set_hwid(&opt->u.md2, p->erspan_hwid);
	}
}

/* What the metadata of a packet says of it. Return: false if they do not. */
static bool erspan_external(struct ip_tunnel_info *info, struct erspan_metadata *opt)
{
	if (!ip_tnl_flag_test(info->key.tun_flags, ERSPAN_OPT) ||
	    info->options_len < sizeof(*opt))
		return false;
	*opt = *(const struct erspan_metadata *)ip_tunnel_info_opts(info);
	return opt->version == ERSPAN_VERSION || opt->version == ERSPAN_VERSION2;
}

static netdev_tx_t erspan_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_entry *e = rcu_dereference_bh(t->entry);
	unsigned int longest = READ_ONCE(dev->mtu) + ETH_HLEN;
	bool cut = skb->len > longest;
	struct erspan_metadata opt;
	struct erspan_header eh;
	struct ip_tnl_flow f;

	if (!e || !ip_tnl_flow_init(&f, e, skb))
		return ip_tnl_gre_xmit_drop(skb, dev);
	if (!f.collect_md)
		erspan_configured(&e->p, &opt);
	else if (!erspan_external(f.info, &opt))
		return ip_tnl_gre_xmit_drop(skb, dev);
	if (cut && erspan_cut(skb, longest))
		return ip_tnl_gre_xmit_drop(skb, dev);
	if (!ip_tnl_gre_ether_payload(skb, &f.inner_proto))
		return ip_tnl_gre_xmit_drop(skb, dev);

	f.options = opt.version ? GRE_SEQ : 0;
	if (opt.version)
		erspan_build(&eh, skb, &f, &opt, cut || erspan_is_cut(skb, f.inner_proto));
	ip_tnl_gre_send(skb, dev, &f,
			htons(opt.version == ERSPAN_VERSION2 ? ETH_P_ERSPAN2 : ETH_P_ERSPAN),
			&eh, erspan_hdr_len(opt.version));
	return NETDEV_TX_OK;
}

/* Configuration */

static int erspan_hlen(const struct ip_tnl_params *p)
{
	return gre_options_len(p->erspan_ver ? GRE_SEQ : 0) + erspan_hdr_len(p->erspan_ver);
}

/* Types II and III have a session id, and number their packets, both ways. */
static int erspan_validate_flags(struct nlattr *data[], struct netlink_ext_ack *extack)
{
	__be16 flags = 0;

	if (data[IFLA_GRE_IFLAGS])
		flags |= nla_get_be16(data[IFLA_GRE_IFLAGS]);
	if (data[IFLA_GRE_OFLAGS])
		flags |= nla_get_be16(data[IFLA_GRE_OFLAGS]);
	if (data[IFLA_GRE_COLLECT_METADATA] || flags == (GRE_SEQ | GRE_KEY))
		return 0;
	NL_SET_ERR_MSG(extack, "ERSPAN types II and III need key and seq, and take no csum");
	return -EINVAL;
}

/* Return true if an attribute that may be missing is a session id. */
static bool erspan_is_session(const struct nlattr *attr)
{
	return !attr || be32_to_cpu(nla_get_be32(attr)) <= ID_MASK;
}

static int erspan_validate(struct nlattr *tb[], struct nlattr *data[],
			   struct netlink_ext_ack *extack)
{
	int err;

	/* Of type I only the Ethernet address can be wrong. */
	if (!data || (data[IFLA_GRE_ERSPAN_VER] && !nla_get_u8(data[IFLA_GRE_ERSPAN_VER])))
		return ip_tnl_gre_ether_validate(tb, NULL, extack);
	err = ip_tnl_gre_ether_validate(tb, data, extack) ?: erspan_validate_flags(data, extack);
	if (err)
		return err;
	if (!erspan_is_session(data[IFLA_GRE_IKEY]) || !erspan_is_session(data[IFLA_GRE_OKEY])) {
		NL_SET_ERR_MSG(extack, "The key of ERSPAN types II and III is a session id, at most 1023");
		return -EINVAL;
	}
	return 0;
}

static int erspan_parse_header(struct nlattr *data[], struct ip_tnl_params *p,
			       struct netlink_ext_ack *extack)
{
	if (data[IFLA_GRE_ERSPAN_VER])
		p->erspan_ver = nla_get_u8(data[IFLA_GRE_ERSPAN_VER]);
	p->unkeyed = !p->erspan_ver;
	if (data[IFLA_GRE_ERSPAN_INDEX] && p->erspan_ver == ERSPAN_VERSION)
		p->erspan_index = nla_get_u32(data[IFLA_GRE_ERSPAN_INDEX]);
	if (data[IFLA_GRE_ERSPAN_DIR] && p->erspan_ver == ERSPAN_VERSION2)
		p->erspan_dir = nla_get_u8(data[IFLA_GRE_ERSPAN_DIR]);
	if (data[IFLA_GRE_ERSPAN_HWID] && p->erspan_ver == ERSPAN_VERSION2)
		p->erspan_hwid = nla_get_u16(data[IFLA_GRE_ERSPAN_HWID]);

	if (p->erspan_ver > ERSPAN_VERSION2)
		NL_SET_ERR_MSG(extack, "ERSPAN version is 0 (type I), 1 (type II) or 2 (type III)");
	else if (p->erspan_index > INDEX_MASK)
		NL_SET_ERR_MSG(extack, "ERSPAN index is at most 1048575");
	else if (p->erspan_dir > DIR_MASK >> DIR_OFFSET)
		NL_SET_ERR_MSG(extack, "ERSPAN direction is 0 (ingress) or 1 (egress)");
	else if (p->erspan_hwid > HWID_MASK >> HWID_OFFSET)
		NL_SET_ERR_MSG(extack, "ERSPAN hardware id is at most 63");
	else
		return 0;
	return -EINVAL;
}

static void erspan_inherit(struct ip_tnl_params *p, const struct ip_tnl_params *old)
{
	p->erspan_ver = old->erspan_ver;
	p->erspan_dir = old->erspan_dir;
	p->erspan_hwid = old->erspan_hwid;
	p->erspan_index = old->erspan_index;
}

static int erspan_parse(struct nlattr *data[], struct ip_tnl_params *p,
			struct netlink_ext_ack *extack)
{
	return ip_tnl_gre_parse(data, p, extack) ?: erspan_parse_header(data, p, extack);
}

static void erspan_fill(struct sk_buff *skb, const struct ip_tnl_params *p)
{
	struct ip_tnl_params shown = *p;

	/* The session id is the key; on the wire it is no GRE option. */
	if (p->erspan_ver && !p->collect_md)
		shown.o_flags |= GRE_KEY;
	ip_tnl_gre_fill(skb, &shown);
	ip_tnl_put(skb, IFLA_GRE_ERSPAN_VER, p->erspan_ver);
	if (p->erspan_ver == ERSPAN_VERSION)
		ip_tnl_put(skb, IFLA_GRE_ERSPAN_INDEX, p->erspan_index);
	if (p->erspan_ver == ERSPAN_VERSION2) {
		ip_tnl_put(skb, IFLA_GRE_ERSPAN_DIR, p->erspan_dir);
		ip_tnl_put(skb, IFLA_GRE_ERSPAN_HWID, p->erspan_hwid);
	}
}

static const struct net_device_ops erspan_netdev_ops = {
	.ndo_init		= ip_tnl_init,
	.ndo_uninit		= ip_tnl_uninit,
	.ndo_open		= ip_tnl_gre_open,
	.ndo_stop		= ip_tnl_gre_stop,
	.ndo_start_xmit		= erspan_xmit,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
	.ndo_fix_features	= ip_tnl_fix_features,
	.ndo_change_mtu		= ip_tnl_change_mtu,
	.ndo_get_stats64	= dev_get_tstats64,
	.ndo_get_iflink		= ip_tnl_get_iflink,
	.ndo_fill_metadata_dst	= ip_tnl_fill_metadata_dst,
};

static void erspan_setup(struct net_device *dev)
{
	ip_tnl_gre_ether_setup(dev, &ip_tnl_erspan_kind);
	dev->netdev_ops = &erspan_netdev_ops;
	/* Each frame has a header of its own. */
	dev->features &= ~NETIF_F_GSO_MASK;
	dev->hw_features &= ~NETIF_F_GSO_MASK;
}

DEFINE_IP_TNL_PERNET(ip_tnl_erspan_kind);

struct ip_tnl_kind ip_tnl_erspan_kind = {
	.link_ops = {
		.kind		= "erspan",
		.setup		= erspan_setup,
		.validate	= erspan_validate,
	},
	IP_TNL_PERNET(ip_tnl_erspan_kind),
	.fallback_name	= "erspan0",
	.defaults	= { .erspan_ver = ERSPAN_VERSION },
	.fill_size	= GRE_FILL_SIZE + NLA_HDRLEN + NLA_ALIGN(1) + NLA_HDRLEN + NLA_ALIGN(4) +
			  NLA_HDRLEN + NLA_ALIGN(2),
	.hlen		= erspan_hlen,
	.changed	= ip_tnl_gre_changed,
	.inherit	= erspan_inherit,
	.parse		= erspan_parse,
	.fill		= erspan_fill,
};
