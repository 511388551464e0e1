/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What ip_tunnel_core.ko exports to the tunnel kinds, each function below the name
 * of the file that implements it. ip_tnl_internal.h has what its files share.
 *
 * Two objects make a tunnel:
 *
 *   struct ip_tnl         the net_device's private area: counters, sequence
 *			   numbers, soft errors, everything that changes with
 *			   traffic. It lives as long as the device.
 *   struct ip_tnl_entry   one configuration. Immutable once published, found
 *			   by the packets it describes, replaced as a whole
 *			   when the configuration changes, freed after a grace
 *			   period. A packet reads exactly one of them.
 */
#ifndef _IPTNL_IP_TNL_H
#define _IPTNL_IP_TNL_H

#include <linux/netdevice.h>
#include <linux/rhashtable-types.h>
#include <net/dst_cache.h>
#include <net/ip_tunnels.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include <net/rtnetlink.h>

struct ip_tnl;
struct ip_tnl_dst_caches;

/**
 * struct ip_tnl_params - what a user can configure, as plain values
 * @remote: outer destination, 0 for any
 * @local: outer source, 0 for any
 * @i_key: GRE key that received packets carry, used with %GRE_KEY in @i_flags
 * @o_key: GRE key that sent packets carry, used with %GRE_KEY in @o_flags
 * @i_flags: GRE wire flags (csum, key, seq) that received packets must carry
 * @o_flags: GRE wire flags that sent packets carry
 * @df: %IP_DF in network byte order when path MTU discovery is on, else 0
 * @protocol: IP protocol of the payload; 0 for any (ipip), %IPPROTO_GRE (gre)
 * @ttl: outer TTL, 0 to take it from the payload
 * @tos: outer TOS; with bit 0 set, DSCP is taken from the payload
 * @ignore_df: do not copy the DF bit of an IPv4 payload
 * @unkeyed: received packets carry no key, whatever @i_flags says (ERSPAN type I)
 * @collect_md: destination, key and options come with each packet, as metadata
 * @erspan_ver: ERSPAN version on the wire: 0 (type I), 1 (II), 2 (III)
 * @erspan_dir: ERSPAN type III direction, 0 ingress, 1 egress
 * @erspan_hwid: ERSPAN type III hardware id, 6 bits
 * @erspan_index: ERSPAN type II port index, 20 bits, host byte order
 * @link: index of the underlay device in the tunnel's underlay namespace, or 0
 * @fwmark: mark that the outer route is looked up with
 * @encap: UDP encapsulation (FOU, GUE) between the outer IP header and ours
 *
 * Addresses and keys are in network byte order.
 */
struct ip_tnl_params {
	__be32	remote;
	__be32	local;
	__be32	i_key;
	__be32	o_key;
	__be16	i_flags;
	__be16	o_flags;
	__be16	df;
	u8	protocol;
	u8	ttl;
	u8	tos;
	bool	ignore_df;
	bool	unkeyed;
	bool	collect_md;
	u8	erspan_ver;
	u8	erspan_dir;
	u16	erspan_hwid;
	u32	erspan_index;
	int	link;
	u32	fwmark;
	struct ip_tunnel_encap encap;
};

/**
 * struct ip_tnl_id - what identifies a tunnel to an arriving packet
 * @addrs: source of the packet in the upper half, its destination in the lower;
 *	0 in the place of an address that the tunnel takes any of
 * @key: GRE key in the lower half, 0 where there is none; %IP_TNL_KEYED if the
 *	GRE header carries a key, so that key 0 differs from none, but never where
 *	both addresses are wildcards (as in-tree)
 *
 * The halves are in network byte order. Packed like this because every received
 * packet has one made, hashed and compared.
 */
struct ip_tnl_id {
	u64	addrs;
	u64	key;
};

/**
 * struct ip_tnl_entry - one published configuration of a tunnel
 * @node: link in &ip_tnl_net.table
 * @id: the hash key
 * @tnl: the tunnel; outlives every reader of the entry
 * @p: the configuration
 * @rcu: frees the entry after its last reader
 * @dst_caches: routes for @p and for nothing else, so that a reader of an old entry
 *	cannot leave its route to the new one: none without a remote address, one,
 *	or one for each DSCP that the payload may have. NULL until a packet goes by it
 */
struct ip_tnl_entry {
	struct rhlist_head	node;
	struct ip_tnl_id	id;
	struct ip_tnl		*tnl;
	struct ip_tnl_params	p;
	struct rcu_head		rcu;
	struct ip_tnl_dst_caches	*dst_caches[];
};

/**
 * struct ip_tnl - private area of a tunnel device
 * @tunnel: first, because other drivers look into it; @tunnel.parms, .net and
 *	.fwmark mirror the entry for them, and are written under RTNL only
 * @entry: current configuration; written under RTNL
 * @list: link in &ip_tnl_net.tunnels; RTNL
 */
struct ip_tnl {
	struct ip_tunnel		tunnel;
	struct ip_tnl_entry __rcu	*entry;
	struct list_head		list;
};

/* The classes of tunnels, by which of their addresses are given, in the order of precedence. */
enum ip_tnl_class {
	IP_TNL_EXACT,
	IP_TNL_REMOTE,
	IP_TNL_LOCAL,
	IP_TNL_GROUP,
	IP_TNL_WILDCARD,
	IP_TNL_CLASSES
};

/* How many tunnels of a class there are, and how many of them are bound to a device. */
struct ip_tnl_count {
	unsigned int	all;
	unsigned int	bound;
};

/**
 * struct ip_tnl_net - the tunnels of one kind whose packets one namespace carries
 * @table: &ip_tnl_entry by &ip_tnl_id; written under RTNL, read under RCU
 * @class_mask: one bit for each &enum ip_tnl_class that @table has entries of, and one,
 *	shifted by %IP_TNL_BOUND, for each that it has entries with a link of; as @table
 * @genid: incremented after the insertion of an entry into @table; as @table
 * @count: of the entries in @table, by &enum ip_tnl_class; RTNL
 * @tunnels: the same tunnels, wherever their devices are; RTNL
 * @collect_md_dev: the device in external mode, or NULL
 * @fallback: device that takes what no tunnel wants (tunl0, gre0), or NULL
 */
struct ip_tnl_net {
	struct rhltable			table;
	u32				class_mask;
	unsigned int			genid;
	struct ip_tnl_count		count[IP_TNL_CLASSES];
	struct list_head		tunnels;
	struct net_device __rcu		*collect_md_dev;
	struct net_device __rcu		*fallback;
};

/* The numbers under which a kind receives the attributes that all have. */
struct ip_tnl_attrs {
	u16	link, local, remote, ttl, tos, pmtudisc, fwmark;
	u16	encap_type, encap_flags, encap_sport, encap_dport, collect_md;
};

/**
 * struct ip_tnl_kind - a kind of tunnel device
 * @link_ops: rtnetlink operations; a device's kind is found from this member
 * @table_ops: pernet subsystem: ip_tnl_net_init(), ip_tnl_net_exit(), @net_id
 * @device_ops: pernet device: ip_tnl_fallback_init(), ip_tnl_net_exit_rtnl()
 * @net_id: key of this kind's &ip_tnl_net
 * @fallback_name: name of the fallback device
 * @defaults: configuration of a new device where its attributes say nothing
 * @fallback_protocol: &ip_tnl_params.protocol of the fallback device
 * @options: GRE wire flags that can be configured; 0 for a kind without a header
 * @change_collect_md: a change may name the external mode that the device has
 * @closing: set while the kind is unregistered, so that no ioctl makes a device; RTNL
 * @attrs: attribute numbers
 * @protocol_ok: whether an &ip_tnl_params.protocol can be configured
 * @hlen: bytes of the kind's own header; NULL for a kind without one
 * @prepare: makes a new device the sort of device that the params ask for,
 *	before it is registered. May be NULL.
 * @changed: follows a change of a registered device's params. May be NULL.
 * @inherit: carries over, from the old params, what a change by netlink keeps
 *	unless an attribute says otherwise. May be NULL.
 * @parse: reads the kind's own attributes into params that hold defaults and
 *	the common attributes already; @data is never NULL. RTNL held.
 * @fill: dumps the kind's own attributes by ip_tnl_put(), at most @fill_size bytes
 * @fill_size: see @fill
 */
struct ip_tnl_kind {
	struct rtnl_link_ops		link_ops;
	struct pernet_operations	table_ops;
	struct pernet_operations	device_ops;
	unsigned int			net_id;
	const char			*fallback_name;
	struct ip_tnl_params		defaults;
	u8				fallback_protocol;
	__be16				options;
	bool				change_collect_md;
	bool				closing;
	struct ip_tnl_attrs		attrs;
	size_t				fill_size;

	bool	(*protocol_ok)(u8 protocol);
	int	(*hlen)(const struct ip_tnl_params *p);
	int	(*prepare)(struct net_device *dev, const struct ip_tnl_params *p,
			   struct netlink_ext_ack *extack);
	void	(*changed)(struct net_device *dev, const struct ip_tnl_params *old,
			   const struct ip_tnl_params *p);
	void	(*inherit)(struct ip_tnl_params *p, const struct ip_tnl_params *old);
	int	(*parse)(struct nlattr *data[], struct ip_tnl_params *p,
			 struct netlink_ext_ack *extack);
	void	(*fill)(struct sk_buff *skb, const struct ip_tnl_params *p);
};

static inline struct ip_tnl_kind *ip_tnl_kind(const struct net_device *dev)
{
	return container_of(dev->rtnl_link_ops, struct ip_tnl_kind, link_ops);
}

/* Configuration as its writers see it. Context: RTNL. */
static inline struct ip_tnl_entry *ip_tnl_entry_rtnl(const struct ip_tnl *t)
{
	return rtnl_dereference(t->entry);
}

static inline struct ip_tnl_net *ip_tnl_net(const struct net *net, const struct ip_tnl_kind *kind)
{
	return net_generic(net, kind->net_id);
}

/* As ip_tnl_net(), without its RCU read side section. Context: RCU read side. */
static inline struct ip_tnl_net *ip_tnl_net_rcu(const struct net *net,
						const struct ip_tnl_kind *kind)
{
	return rcu_dereference(net->gen)->ptr[kind->net_id];
}

/* The pernet functions of a &struct ip_tnl_kind, and their place in its initialiser. */
#define DEFINE_IP_TNL_PERNET(_kind)						\
static int __net_init _kind##_net_init(struct net *net)			\
{										\
	return ip_tnl_net_init(net, &(_kind));					\
}										\
static void __net_exit _kind##_net_exit(struct net *net)			\
{										\
	ip_tnl_net_exit(net, &(_kind));						\
}										\
static int __net_init _kind##_fallback_init(struct net *net)			\
{										\
	return ip_tnl_fallback_init(net, &(_kind));				\
}										\
static void __net_exit _kind##_exit_rtnl(struct net *net, struct list_head *kill) \
{										\
	ip_tnl_net_exit_rtnl(net, &(_kind), kill);				\
}										\
DEFINE_PERNET_EXIT_RTNL(_kind##_exit_rtnl)

#define IP_TNL_PERNET(_kind)							\
	.table_ops = {								\
		.init	= _kind##_net_init,					\
		.exit	= _kind##_net_exit,					\
		.id	= &(_kind).net_id,					\
		.size	= sizeof(struct ip_tnl_net),				\
	},									\
	.device_ops = {								\
		.init	= _kind##_fallback_init,				\
		PERNET_EXIT_RTNL(_kind##_exit_rtnl),				\
	}

/*
 * The first function that a kind calls has a name that no core of other headers exports:
 * after an upgrade a kind may find the old core loaded, and without CONFIG_MODVERSIONS
 * nothing else tells the kernel that their structures differ.
 */
#define ip_tnl_kind_register	__PASTE(ip_tnl_kind_register_, IP_TNL_ABI)

/* ip_tnl_main.c: kinds, namespaces */
int ip_tnl_kind_register(struct ip_tnl_kind *kind);
void ip_tnl_kind_unregister(struct ip_tnl_kind *kind);
int ip_tnl_net_init(struct net *net, const struct ip_tnl_kind *kind);
void ip_tnl_net_exit(struct net *net, const struct ip_tnl_kind *kind);
int ip_tnl_fallback_init(struct net *net, struct ip_tnl_kind *kind);
void ip_tnl_net_exit_rtnl(struct net *net, const struct ip_tnl_kind *kind,
			  struct list_head *kill);

/* ip_tnl_dev.c: the life of a device, and operations that all kinds have */
void ip_tnl_setup(struct net_device *dev, struct ip_tnl_kind *kind);
int ip_tnl_init(struct net_device *dev);
void ip_tnl_uninit(struct net_device *dev);
netdev_features_t ip_tnl_fix_features(struct net_device *dev, netdev_features_t features);
int ip_tnl_change_mtu(struct net_device *dev, int mtu);
int ip_tnl_get_iflink(const struct net_device *dev);

/* ip_tnl_config.c: from any user interface to a configured device */
int ip_tnl_add(struct net_device *dev, struct net *net, const struct ip_tnl_params *p,
	       unsigned int mtu, struct netlink_ext_ack *extack);

/* ip_tnl_netlink.c: ip link */
void ip_tnl_dellink(struct net_device *dev, struct list_head *head);

static inline void __ip_tnl_put(struct sk_buff *skb, int type, const void *value, int size)
{
	struct nlattr *nla = __skb_put(skb, NLA_HDRLEN + NLA_ALIGN(size));

	nla->nla_type = type;
	nla->nla_len = NLA_HDRLEN + size;
	memset(nla_data(nla), 0, NLA_ALIGN(size));
	memcpy(nla_data(nla), value, size);
}

/**
 * ip_tnl_put() - put an attribute into a message that is known to have the room
 * @skb: message
 * @type: attribute
 * @value: of the type, and so of the size and byte order, that the attribute has
 */
#define ip_tnl_put(skb, type, value)						\
do {										\
	const __auto_type ip_tnl_value = (value);				\
										\
	__ip_tnl_put(skb, type, &ip_tnl_value, sizeof(ip_tnl_value));		\
} while (0)

/* ip_tnl_ioctl.c: ip tunnel */
int ip_tnl_siocdevprivate(struct net_device *dev, struct ifreq *ifr, void __user *data, int cmd);
int ip_tnl_ctl(struct net_device *dev, struct ip_tunnel_parm *u, int cmd);

/* ip_tnl_table.c: lookup */
struct ip_tnl_entry *ip_tnl_lookup(struct ip_tnl_net *tn, int iif, __be32 remote, __be32 local,
				   __be32 key, bool keyed);

/* ip_tnl_rx.c: receive */

/**
 * struct ip_tnl_packet - what an outer header says of a received packet
 * @options: GRE wire flags that it carries (csum, key, seq); 0 for ipip
 * @proto: ethertype of the payload, network byte order
 * @seq: GRE sequence number, host byte order
 * @hlen: bytes from skb->data to the payload
 * @md: metadata that the packet is to be delivered with, or NULL; the
 *	reference goes with the packet
 */
struct ip_tnl_packet {
	__be16	options;
	__be16	proto;
	u32	seq;
	int	hlen;
	struct metadata_dst *md;
};

struct metadata_dst *ip_tnl_rx_metadata(struct sk_buff *skb, __be16 options, __be32 key,
					int opt_size);
void ip_tnl_rcv(const struct ip_tnl_entry *e, struct sk_buff *skb,
		const struct ip_tnl_packet *pkt, bool log_ecn);
void ip_tnl_rcv_bad_csum(const struct ip_tnl_entry *e, struct sk_buff *skb);
void ip_tnl_rcv_drop(struct sk_buff *skb);

/* ip_tnl_icmp.c: errors that the underlay reports */
int ip_tnl_err(const struct ip_tnl_entry *e, struct sk_buff *skb, u32 info, bool soft);

/* ip_tnl_route.c: routes of outer packets */
struct rtable *ip_tnl_route(struct net *net, const struct ip_tnl_params *p, __be32 *saddr);

/* ip_tnl_tx.c: transmit */

/**
 * struct ip_tnl_flow - how one packet leaves; the inputs of the transmit path
 * @daddr: outer destination; 0 is resolved from the payload's route (NBMA)
 * @saddr: outer source, 0 to let routing choose; the one chosen after routing
 * @key: GRE key, network byte order
 * @options: GRE wire flags to emit
 * @df: %IP_DF or 0, network byte order; payload's bit added by routing
 * @proto: IP protocol of the outer header
 * @ttl: outer TTL, 0 to inherit; final after routing
 * @tos: outer TOS; final after routing
 * @inherit_tos: take the TOS from a payload that has one
 * @ignore_df: leave the payload's DF bit out
 * @collect_md: no destination other than @daddr
 * @flow_flags: FLOWI_FLAG_* for the outer route
 * @inner_proto: ethertype of what the network header points at, network byte order
 * @hlen: bytes that will be pushed between outer IP header and payload
 * @link: underlay device index or 0
 * @mark: mark for the outer route
 * @gso_type: SKB_GSO_* of this encapsulation
 * @encap: UDP encapsulation
 * @encap_ops: who makes it, and says how long it is; NULL where there is none
 * @info: metadata of the packet, if that decides how it leaves
 * @dst_cache: where the packet's metadata keeps the route, or NULL
 * @dst_caches: else &ip_tnl_entry.dst_caches of a tunnel with a remote address, or NULL
 * @ll_hlen: bytes of a link-layer header that was taken off the packet
 */
struct ip_tnl_flow {
	__be32	daddr;
	__be32	saddr;
	__be32	key;
	__be16	options;
	__be16	df;
	u8	proto;
	u8	ttl;
	u8	tos;
	bool	inherit_tos;
	bool	ignore_df;
	bool	collect_md;
	u8	flow_flags;
	__be16	inner_proto;
	int	hlen;
	int	link;
	u32	mark;
	int	gso_type;
	struct ip_tunnel_encap *encap;
	const struct ip_tunnel_encap_ops *encap_ops;
	struct ip_tunnel_info *info;
	struct dst_cache *dst_cache;
	struct ip_tnl_dst_caches **dst_caches;
	int	ll_hlen;
};

/* A configured TOS with bit 0 set asks for the payload's. */
static inline void ip_tnl_flow_set_tos(struct ip_tnl_flow *f, u8 tos)
{
	f->inherit_tos = tos & 1;
	f->tos = tos & ~1;
}

bool ip_tnl_flow_init(struct ip_tnl_flow *f, struct ip_tnl_entry *e, const struct sk_buff *skb);
struct rtable *ip_tnl_tx_prepare(struct sk_buff *skb, struct net_device *dev,
				 struct ip_tnl_flow *f);
void ip_tnl_tx_send(struct sk_buff *skb, struct rtable *rt, struct ip_tnl_flow *f);
int ip_tnl_fill_metadata_dst(struct net_device *dev, struct sk_buff *skb);

/* ip_tnl_gso.c: sequence numbers of GSO packets */

/* Marks a GSO packet whose segments are to be numbered. */
#define IP_TNL_GSO_NUMBERED	SKB_GSO_SCTP

/* Number of packets that this is on the wire. */
static inline u16 ip_tnl_segments(const struct sk_buff *skb)
{
	return skb_shinfo(skb)->gso_segs ?: 1;
}

int ip_tnl_gso_hook(void);
void ip_tnl_gso_unhook(void);

#endif /* _IPTNL_IP_TNL_H */
