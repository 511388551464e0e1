// SPDX-License-Identifier: GPL-2.0
/*
 * gre: IP protocol 47, handed on by the version in the GRE header.
 *
 * Version 0 is RFC 2784 and 2890, version 1 is PPTP (RFC 2637). The version is
 * all that is looked at here; the rest of the header is its handler's to judge.
 */
#include <linux/module.h>
#include <net/gre.h>
#include <net/protocol.h>
#include <net/xfrm.h>

#include "gre_header.h"
#include "iptnl_version.h"

/* Guards the writing of gre_protocols, which is read under RCU. */
static DEFINE_MUTEX(gre_mutex);
static const struct gre_protocol __rcu *gre_protocols[GREPROTO_MAX] __read_mostly;

/* Puts @new where @old is. Return: 0 or -EBUSY if something else is there. */
static int gre_replace_protocol(u8 version, const struct gre_protocol *old,
				const struct gre_protocol *new)
{
	int err = -EBUSY;

	if (version >= GREPROTO_MAX)
		return -EINVAL;
	mutex_lock(&gre_mutex);
	if (rcu_access_pointer(gre_protocols[version]) == old) {
		rcu_assign_pointer(gre_protocols[version], new);
		err = 0;
	}
	mutex_unlock(&gre_mutex);
	return err;
}

/**
 * gre_add_protocol() - receive GRE packets of a version
 * @proto: handlers; they run in softirq under RCU and consume the packet
 * @version: GRE version, below %GREPROTO_MAX
 *
 * Context: process.
 *
 * Return: 0, -EINVAL for another version, -EBUSY if it is taken.
 */
int gre_add_protocol(const struct gre_protocol *proto, u8 version)
{
	return gre_replace_protocol(version, NULL, proto);
}
EXPORT_SYMBOL_GPL(gre_add_protocol);

/**
 * gre_del_protocol() - receive no more
 * @proto: what gre_add_protocol() was given
 * @version: GRE version
 *
 * Context: process; waits for packets that the handlers still work on.
 *
 * Return: 0, -EINVAL for another version, -EBUSY if @proto does not hold it.
 */
int gre_del_protocol(const struct gre_protocol *proto, u8 version)
{
	int err = gre_replace_protocol(version, proto, NULL);

	if (!err)
		synchronize_rcu();
	return err;
}
EXPORT_SYMBOL_GPL(gre_del_protocol);

/**
 * gre_parse_header() - read a version 0 GRE header
 * @skb: packet; may be pulled
 * @tpi: filled on success
 * @csum_err: set if the checksum is wrong; NULL not to check it
 * @proto: ethertype of WCCP's payload, network byte order
 * @nhs: offset of the GRE header from skb->data; 0 where @csum_err is given
 *
 * Context: any.
 *
 * Return: length of the header in bytes, or -EINVAL for one
 * that is cut short or that RFC 2784 2.3 refuses, or a wrong checksum.
 */
int gre_parse_header(struct sk_buff *skb, struct tnl_ptk_info *tpi, bool *csum_err,
		     __be16 proto, int nhs)
{
	struct gre_header h;
	int err;

	err = gre_options_parse(skb, nhs, &h);
	if (err)
		return err;
	if (csum_err && h.flags & GRE_CSUM && !gre_checksum_ok(skb)) {
		*csum_err = true;
		return -EINVAL;
	}
	err = gre_payload_parse(skb, nhs, proto, &h);
	if (err)
		return err;

	gre_flags_to_tnl_flags(tpi->flags, h.flags & GRE_OPTIONS);
	tpi->proto = h.proto;
	tpi->key = h.key;
	tpi->seq = htonl(h.seq);
	tpi->hdr_len = h.len;
	return h.len;
}
EXPORT_SYMBOL(gre_parse_header);

static u8 gre_version(const struct gre_base_hdr *base)
{
	return be16_to_cpu(base->flags & GRE_VERSION);
}

static int gre_rcv(struct sk_buff *skb)
{
	const struct gre_protocol *proto;
	u8 version;

	if (!pskb_may_pull(skb, sizeof(struct gre_base_hdr)))
		goto drop;
	version = gre_version((const struct gre_base_hdr *)skb->data);
	if (version >= GREPROTO_MAX)
		goto drop;
	proto = rcu_dereference(gre_protocols[version]);
	if (!proto || !proto->handler) {
		dev_core_stats_rx_nohandler_inc(skb->dev);
		goto free;
	}
	return proto->handler(skb);

drop:
	dev_core_stats_rx_dropped_inc(skb->dev);
free:
	kfree_skb(skb);
	return NET_RX_DROP;
}

static int gre_err(struct sk_buff *skb, u32 info)
{
	const struct iphdr *quoted = (const struct iphdr *)skb->data;
	const struct gre_protocol *proto = NULL;
	u8 version;

	/* icmp_rcv() made sure of 8 bytes behind the quoted header. */
	version = gre_version((const struct gre_base_hdr *)(skb->data + quoted->ihl * 4));
	if (version < GREPROTO_MAX)
		proto = rcu_dereference(gre_protocols[version]);
	if (!proto || !proto->err_handler)
		return -EPROTONOSUPPORT;
	proto->err_handler(skb, info);
	return 0;
}

static const struct net_protocol gre_net_protocol = {
	.handler	= gre_rcv,
	.err_handler	= gre_err,
};

static int __init gre_init(void)
{
	if (inet_add_protocol(&gre_net_protocol, IPPROTO_GRE)) {
		pr_err("gre: IP protocol 47 has a handler already\n");
		return -EAGAIN;
	}
	return 0;
}

static void __exit gre_exit(void)
{
	inet_del_protocol(&gre_net_protocol, IPPROTO_GRE);
}

module_init(gre_init);
module_exit(gre_exit);
MODULE_DESCRIPTION("iptnl: receive GRE by version");
MODULE_LICENSE("GPL");
MODULE_VERSION(IPTNL_VERSION);
IPTNL_NOTE;
