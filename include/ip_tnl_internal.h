/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of ip_tunnel_core.ko share and no other module calls, each function
 * below the name of the file that implements it.
 */
#ifndef _IPTNL_IP_TNL_INTERNAL_H
#define _IPTNL_IP_TNL_INTERNAL_H

#include "ip_tnl.h"

/* In &ip_tnl_id.key. */
#define IP_TNL_KEYED	BIT_ULL(32)

/* In &ip_tnl_net.class_mask, from the bit of a class to the bit of its entries with a link. */
#define IP_TNL_BOUND	16

/* The DSCP is above the ECN field (RFC 3168 5). */
#define IP_TNL_DSCP_SHIFT	2

/**
 * struct ip_tnl_dst_caches - cached routes of one configuration and DSCP
 * @mask: mask of the flow hash that selects the cache; 0 unless the route is multipath
 * @expires: jiffies after which a multipath route is looked up again
 * @rcu: frees it after its last reader
 * @cache: @mask + 1 caches
 */
struct ip_tnl_dst_caches {
	u32			mask;
	unsigned long		expires;
	struct rcu_head		rcu;
	struct dst_cache	cache[];
};

/* ip_tnl_dev.c: what a configuration means for the device */
int ip_tnl_encap_hlen(const struct net_device *dev, const struct ip_tnl_params *p);
int ip_tnl_hlen(const struct net_device *dev, const struct ip_tnl_params *p);
int ip_tnl_mtu_overhead(const struct net_device *dev, const struct ip_tnl_params *p);
int ip_tnl_max_mtu(const struct net_device *dev, const struct ip_tnl_params *p);
bool ip_tnl_mtu_ok(const struct net_device *dev, const struct ip_tnl_params *p, unsigned int mtu);

/* ip_tnl_carry.c: what only a driver knows, for the one that replaces it */
int ip_tnl_wanted_index(struct net *net, const char *name);
int ip_tnl_carry_init(void);
void ip_tnl_carry_exit(void);

/* ip_tnl_table.c: entries, and the table that holds them */
void ip_tnl_table_seed(void);
int ip_tnl_table_init(struct ip_tnl_net *tn);
void ip_tnl_table_destroy(struct ip_tnl_net *tn);
struct ip_tnl_entry *ip_tnl_entry_alloc(struct ip_tnl *t, const struct ip_tnl_params *p);
void ip_tnl_entry_free(struct ip_tnl_entry *e);
int ip_tnl_table_insert(struct ip_tnl_net *tn, struct ip_tnl_entry *e);
void ip_tnl_table_remove(struct ip_tnl_net *tn, struct ip_tnl_entry *e);
bool ip_tnl_is_duplicate(const struct ip_tnl_params *a, const struct ip_tnl_params *b);
struct ip_tnl_entry *ip_tnl_table_find(struct ip_tnl_net *tn, const struct ip_tnl_params *p);

/* ip_tnl_config.c: a change of configuration */
void ip_tnl_inherit_config(struct ip_tnl_params *p, const struct ip_tnl_params *old);
int ip_tnl_change(struct net_device *dev, const struct ip_tnl_params *p, bool set_mtu,
		  struct netlink_ext_ack *extack);

/* ip_tnl_netlink.c: rtnl_link_ops */
int ip_tnl_newlink(struct net_device *dev, struct rtnl_newlink_params *params,
		   struct netlink_ext_ack *extack);
int ip_tnl_changelink(struct net_device *dev, struct nlattr *tb[], struct nlattr *data[],
		      struct netlink_ext_ack *extack);
size_t ip_tnl_get_size(const struct net_device *dev);
int ip_tnl_fill_info(struct sk_buff *skb, const struct net_device *dev);
struct net *ip_tnl_get_link_net(const struct net_device *dev);

/* ip_tnl_rx.c: receive */
int ip_tnl_rx_init(void);
void ip_tnl_rx_exit(void);

/* ip_tnl_backlog.c: from the tunnel to the payload's stack */
int ip_tnl_backlog_init(void);
void ip_tnl_backlog_exit(void);
void ip_tnl_backlog_enqueue(struct sk_buff *skb);
void ip_tnl_backlog_flush(void);

/* ip_tnl_route.c: lookups and caches */
struct rtable *ip_tnl_route_output(struct net *net, struct ip_tnl_flow *f, u32 hash);
struct rtable *ip_tnl_route_lookup(struct sk_buff *skb, struct net *net, struct ip_tnl_flow *f,
				   struct ip_tnl_dst_caches **slot);
struct dst_cache *ip_tnl_dst_caches_select(struct ip_tnl_dst_caches *r, struct sk_buff *skb);
void ip_tnl_dst_caches_free(struct ip_tnl_dst_caches *r);

#endif /* _IPTNL_IP_TNL_INTERNAL_H */
