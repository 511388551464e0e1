/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the parts of ip_gre.ko share, grouped by the file that implements it.
 */
#ifndef _IPTNL_IP_GRE_H
#define _IPTNL_IP_GRE_H

#include "ip_tnl.h"

struct gre_header;

/* ip_gre.c: what the kinds have in common on the wire */
void ip_tnl_gre_send(struct sk_buff *skb, struct net_device *dev, struct ip_tnl_flow *f,
		     __be16 proto, const void *inner, int inner_len);
netdev_tx_t ip_tnl_gre_xmit_drop(struct sk_buff *skb, struct net_device *dev);

/* ip_gre_config.c: attributes, multicast membership */
extern const struct nla_policy ip_tnl_gre_policy[IFLA_GRE_MAX + 1];
bool ip_tnl_gre_protocol_ok(u8 protocol);
int ip_tnl_gre_hlen(const struct ip_tnl_params *p);
int ip_tnl_gre_parse(struct nlattr *data[], struct ip_tnl_params *p,
		     struct netlink_ext_ack *extack);
void ip_tnl_gre_fill(struct sk_buff *skb, const struct ip_tnl_params *p);
int ip_tnl_gre_ether_validate(struct nlattr *tb[], struct nlattr *data[],
			      struct netlink_ext_ack *extack);
int ip_tnl_gre_open(struct net_device *dev);
int ip_tnl_gre_stop(struct net_device *dev);
void ip_tnl_gre_changed(struct net_device *dev, const struct ip_tnl_params *old,
			const struct ip_tnl_params *p);

/* What ip_tnl_gre_fill() needs at most. */
#define GRE_FILL_SIZE							\
	(2 * (NLA_HDRLEN + NLA_ALIGN(2)) + 2 * (NLA_HDRLEN + 4) +	\
	 NLA_HDRLEN + NLA_ALIGN(1))

/* The part of a &struct ip_tnl_kind that is the same for all. */
#define GRE_KIND(_kind)							\
	IP_TNL_PERNET(_kind),						\
	.protocol	= IPPROTO_GRE,					\
	.fallback_protocol = IPPROTO_GRE,				\
	.options	= GRE_OPTIONS,					\
	.change_external = true,					\
	.protocol_ok	= ip_tnl_gre_protocol_ok,			\
	.attrs = {							\
		.link		= IFLA_GRE_LINK,			\
		.local		= IFLA_GRE_LOCAL,			\
		.remote		= IFLA_GRE_REMOTE,			\
		.ttl		= IFLA_GRE_TTL,				\
		.tos		= IFLA_GRE_TOS,				\
		.pmtudisc	= IFLA_GRE_PMTUDISC,			\
		.fwmark		= IFLA_GRE_FWMARK,			\
		.encap_type	= IFLA_GRE_ENCAP_TYPE,			\
		.encap_flags	= IFLA_GRE_ENCAP_FLAGS,			\
		.encap_sport	= IFLA_GRE_ENCAP_SPORT,			\
		.encap_dport	= IFLA_GRE_ENCAP_DPORT,			\
		.collect_md	= IFLA_GRE_COLLECT_METADATA,		\
	}

/* And of its link_ops. */
#define GRE_LINK_OPS							\
	.maxtype	= IFLA_GRE_MAX,					\
	.policy		= ip_tnl_gre_policy

/* And of the operations of its devices. */
#define GRE_NETDEV_OPS							\
	.ndo_init		= ip_tnl_init,				\
	.ndo_uninit		= ip_tnl_uninit,			\
	.ndo_open		= ip_tnl_gre_open,			\
	.ndo_stop		= ip_tnl_gre_stop,			\
	.ndo_fix_features	= ip_tnl_fix_features,			\
	.ndo_change_mtu		= ip_tnl_change_mtu,			\
	.ndo_get_stats64	= dev_get_tstats64,			\
	.ndo_get_iflink		= ip_tnl_get_iflink,			\
	.ndo_fill_metadata_dst	= ip_tnl_fill_metadata_dst

/* ip_gre_gso.c: super-packets with sequence numbers */
int ip_tnl_gre_gso_init(void);
void ip_tnl_gre_gso_exit(void);

/* ip_gre_l3.c: layer 3 payload */
extern struct ip_tnl_kind ip_tnl_gre_kind;

/* ip_gre_tap.c: Ethernet payload */
extern struct ip_tnl_kind ip_tnl_gretap_kind;
bool ip_tnl_gre_ether_payload(struct sk_buff *skb, __be16 *payload);
void ip_tnl_gre_ether_setup(struct net_device *dev, struct ip_tnl_kind *kind);

/* ip_gre_erspan.c: mirrored Ethernet frames */
extern struct ip_tnl_kind ip_tnl_erspan_kind;
int ip_tnl_erspan_pull(struct sk_buff *skb, const struct gre_header *h, struct ip_tnl_packet *pkt);
struct metadata_dst *ip_tnl_erspan_metadata(struct sk_buff *skb, const struct gre_header *h);

#endif /* _IPTNL_IP_GRE_H */
