/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of ip_gre.ko share, each function below the name of the file that
 * implements it.
 */
#ifndef _IPTNL_IP_GRE_H
#define _IPTNL_IP_GRE_H

#include "ip_tnl.h"

struct gre_header;

/* ip_gre_config.c: attributes, multicast membership */
int ip_tnl_gre_hlen(const struct ip_tnl_params *p);
int ip_tnl_gre_parse(struct nlattr *data[], struct ip_tnl_params *p,
		     struct netlink_ext_ack *extack);
void ip_tnl_gre_fill(struct sk_buff *skb, const struct ip_tnl_params *p);
int ip_tnl_gre_open(struct net_device *dev);
int ip_tnl_gre_stop(struct net_device *dev);
void ip_tnl_gre_changed(struct net_device *dev, const struct ip_tnl_params *old,
			const struct ip_tnl_params *p);
int ip_tnl_gre_kind_register(struct ip_tnl_kind *kind);

/* What ip_tnl_gre_fill() needs at most. */
#define GRE_FILL_SIZE							\
	(2 * (NLA_HDRLEN + NLA_ALIGN(2)) + 2 * (NLA_HDRLEN + 4) +	\
	 NLA_HDRLEN + NLA_ALIGN(1))

/* ip_gre_tx.c: transmit */
void ip_tnl_gre_send(struct sk_buff *skb, struct net_device *dev, struct ip_tnl_flow *f,
		     __be16 proto, const void *inner, int inner_len);
netdev_tx_t ip_tnl_gre_xmit_drop(struct sk_buff *skb, struct net_device *dev);

/* ip_gre_ether.c: what devices with an Ethernet payload share */
bool ip_tnl_gre_ether_payload(struct sk_buff *skb, __be16 *inner_proto);
void ip_tnl_gre_ether_setup(struct net_device *dev, struct ip_tnl_kind *kind);
int ip_tnl_gre_ether_validate(struct nlattr *tb[], struct nlattr *data[],
			      struct netlink_ext_ack *extack);

/* ip_gre_l3.c: gre */
extern struct ip_tnl_kind ip_tnl_gre_kind;

/* ip_gre_tap.c: gretap */
extern struct ip_tnl_kind ip_tnl_gretap_kind;

/* ip_gre_erspan.c: erspan */
extern struct ip_tnl_kind ip_tnl_erspan_kind;
int ip_tnl_erspan_pull(struct sk_buff *skb, const struct gre_header *h, struct ip_tnl_packet *pkt);
struct metadata_dst *ip_tnl_erspan_metadata(struct sk_buff *skb, const struct gre_header *h);

#endif /* _IPTNL_IP_GRE_H */
