// SPDX-License-Identifier: GPL-2.0
/*
 * tunnel4: IP protocols 4 (IPv4), 41 (IPv6) and 137 (MPLS) in IPv4.
 *
 * Each has a list of handlers, lowest priority value first. A packet is offered
 * to one after the other until one takes it; a packet that nobody takes is
 * answered with a port unreachable.
 *
 * The lists are written under tunnel4_mutex and read under RCU. A handler that
 * left a list runs no more once xfrm4_tunnel_deregister() is back.
 */
#include <linux/module.h>
#include <linux/mpls.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/protocol.h>
#include <net/xfrm.h>

#include "iptnl_version.h"

static DEFINE_MUTEX(tunnel4_mutex);

enum { TUNNEL4_IPV4, TUNNEL4_IPV6, TUNNEL4_MPLS, TUNNEL4_LISTS };

static struct xfrm_tunnel __rcu *tunnel4_list[TUNNEL4_LISTS] __read_mostly;

/* The list of a family, or NULL. */
static struct xfrm_tunnel __rcu **tunnel4_head(unsigned short family)
{
	switch (family) {
	case AF_INET:
		return &tunnel4_list[TUNNEL4_IPV4];
	case AF_INET6:
		return &tunnel4_list[TUNNEL4_IPV6];
	case AF_MPLS:
		return &tunnel4_list[TUNNEL4_MPLS];
	}
	return NULL;
}

/* The first link whose handler does not come before @priority. Context: mutex. */
static struct xfrm_tunnel __rcu **tunnel4_seek(struct xfrm_tunnel __rcu **link, int priority)
{
	struct xfrm_tunnel *t;

	while ((t = rcu_dereference_protected(*link, lockdep_is_held(&tunnel4_mutex))) &&
	       t->priority < priority)
		link = &t->next;
	return link;
}

/**
 * xfrm4_tunnel_register() - receive packets of an encapsulation in IPv4
 * @handler: the handler; its priority decides its place in the list
 * @family: payload: AF_INET, AF_INET6 or AF_MPLS
 *
 * Handlers get packets with data behind the outer header, in softirq and under
 * RCU, and return 0 if they took the packet.
 *
 * Context: process.
 *
 * Return: 0, -EEXIST if the priority is taken, -EINVAL for
 * another family.
 */
int xfrm4_tunnel_register(struct xfrm_tunnel *handler, unsigned short family)
{
	struct xfrm_tunnel __rcu **link = tunnel4_head(family);
	struct xfrm_tunnel *next;
	int err = -EEXIST;

	if (!link)
		return -EINVAL;
	mutex_lock(&tunnel4_mutex);
	link = tunnel4_seek(link, handler->priority);
	next = rcu_dereference_protected(*link, lockdep_is_held(&tunnel4_mutex));
	if (!next || next->priority != handler->priority) {
		RCU_INIT_POINTER(handler->next, next);
		rcu_assign_pointer(*link, handler);
		err = 0;
	}
	mutex_unlock(&tunnel4_mutex);
	return err;
}
EXPORT_SYMBOL(xfrm4_tunnel_register);

/**
 * xfrm4_tunnel_deregister() - receive no more
 * @handler: registered handler
 * @family: the family it was registered for
 *
 * Context: process; waits for packets that the handler still works on.
 *
 * Return: 0, or -ENOENT if it is not registered.
 */
int xfrm4_tunnel_deregister(struct xfrm_tunnel *handler, unsigned short family)
{
	struct xfrm_tunnel __rcu **link = tunnel4_head(family);
	struct xfrm_tunnel *next;
	int err = -ENOENT;

	if (!link)
		return err;
	mutex_lock(&tunnel4_mutex);
	link = tunnel4_seek(link, handler->priority);
	if (rcu_access_pointer(*link) == handler) {
		next = rcu_dereference_protected(handler->next, lockdep_is_held(&tunnel4_mutex));
		rcu_assign_pointer(*link, next);
		err = 0;
	}
	mutex_unlock(&tunnel4_mutex);

	synchronize_net();
	return err;
}
EXPORT_SYMBOL(xfrm4_tunnel_deregister);

#define for_each_tunnel4(t, list) \
	for (t = rcu_dereference(tunnel4_list[list]); t; t = rcu_dereference(t->next))

/* Offers a packet with at least @hlen linear bytes of payload to a list. */
static int tunnel4_deliver(struct sk_buff *skb, int list, unsigned int hlen)
{
	struct xfrm_tunnel *t;

	if (pskb_may_pull(skb, hlen)) {
		for_each_tunnel4(t, list)
			if (!t->handler(skb))
				return 0;
		icmp_send(skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
	}
	kfree_skb(skb);
	return 0;
}

static int tunnel4_err(struct sk_buff *skb, int list, u32 info)
{
	struct xfrm_tunnel *t;

	for_each_tunnel4(t, list)
		if (!t->err_handler(skb, info))
			return 0;
	return -ENOENT;
}

/* After IPsec: the first callback that does not pass the packet on decides. */
static int tunnel4_xfrm_callback(struct sk_buff *skb, u8 protocol, int err)
{
	int list = protocol == IPPROTO_IPIP ? TUNNEL4_IPV4 : TUNNEL4_IPV6;
	struct xfrm_tunnel *t;
	int ret;

	for_each_tunnel4(t, list) {
		ret = t->cb_handler ? t->cb_handler(skb, err) : 1;
		if (ret <= 0)
			return ret;
	}
	return 0;
}

static const struct xfrm_input_afinfo tunnel4_afinfo = {
	.family		= AF_INET,
	.is_ipip	= true,
	.callback	= tunnel4_xfrm_callback,
};

static int tunnel4_ipv4_rcv(struct sk_buff *skb)
{
	return tunnel4_deliver(skb, TUNNEL4_IPV4, sizeof(struct iphdr));
}

static int tunnel4_ipv6_rcv(struct sk_buff *skb)
{
	return tunnel4_deliver(skb, TUNNEL4_IPV6, sizeof(struct ipv6hdr));
}

static int tunnel4_mpls_rcv(struct sk_buff *skb)
{
	return tunnel4_deliver(skb, TUNNEL4_MPLS, sizeof(struct mpls_label));
}

static int tunnel4_ipv4_err(struct sk_buff *skb, u32 info)
{
	return tunnel4_err(skb, TUNNEL4_IPV4, info);
}

static int tunnel4_ipv6_err(struct sk_buff *skb, u32 info)
{
	return tunnel4_err(skb, TUNNEL4_IPV6, info);
}

static int tunnel4_mpls_err(struct sk_buff *skb, u32 info)
{
	return tunnel4_err(skb, TUNNEL4_MPLS, info);
}

/* Policy is checked on the payload, by the handlers. */
static const struct net_protocol tunnel4_protocols[TUNNEL4_LISTS] = {
	[TUNNEL4_IPV4] = {
		.handler	= tunnel4_ipv4_rcv,
		.err_handler	= tunnel4_ipv4_err,
		.no_policy	= 1,
	},
	[TUNNEL4_IPV6] = {
		.handler	= tunnel4_ipv6_rcv,
		.err_handler	= tunnel4_ipv6_err,
		.no_policy	= 1,
	},
	[TUNNEL4_MPLS] = {
		.handler	= tunnel4_mpls_rcv,
		.err_handler	= tunnel4_mpls_err,
		.no_policy	= 1,
	},
};

static const u8 tunnel4_numbers[TUNNEL4_LISTS] = {
	[TUNNEL4_IPV4]	= IPPROTO_IPIP,
	[TUNNEL4_IPV6]	= IPPROTO_IPV6,
	[TUNNEL4_MPLS]	= IPPROTO_MPLS,
};

static void tunnel4_del_protocols(int n)
{
	while (n--)
		inet_del_protocol(&tunnel4_protocols[n], tunnel4_numbers[n]);
}

static int __init tunnel4_init(void)
{
	int err, n;

	for (n = 0; n < TUNNEL4_LISTS; n++) {
		if (inet_add_protocol(&tunnel4_protocols[n], tunnel4_numbers[n])) {
			pr_err("tunnel4: IP protocol %u has a handler already\n",
			       tunnel4_numbers[n]);
			err = -EAGAIN;
			goto del_protocols;
		}
	}
	if (IS_ENABLED(CONFIG_INET_XFRM_TUNNEL)) {
		err = xfrm_input_register_afinfo(&tunnel4_afinfo);
		if (err)
			goto del_protocols;
	}
	return 0;

del_protocols:
	tunnel4_del_protocols(n);
	return err;
}

static void __exit tunnel4_exit(void)
{
	if (IS_ENABLED(CONFIG_INET_XFRM_TUNNEL))
		xfrm_input_unregister_afinfo(&tunnel4_afinfo);
	tunnel4_del_protocols(TUNNEL4_LISTS);
}

module_init(tunnel4_init);
module_exit(tunnel4_exit);
MODULE_DESCRIPTION("iptnl: receive IPv4, IPv6 and MPLS in IPv4");
MODULE_LICENSE("GPL");
MODULE_VERSION(IPTNL_VERSION);
IPTNL_NOTE;
