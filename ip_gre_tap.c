// SPDX-License-Identifier: GPL-2.0
/*
 * gretap: Ethernet frames in GRE.
 */
#include <linux/etherdevice.h>
#include <linux/module.h>
#include <net/gre.h>

#include "ip_gre.h"

static netdev_tx_t gretap_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct ip_tnl *t = netdev_priv(dev);
	struct ip_tnl_entry *e = rcu_dereference_bh(t->entry);
	struct ip_tnl_flow f;

	if (!e || !ip_tnl_flow_init(&f, e, skb) || !ip_tnl_gre_ether_payload(skb, &f.inner_proto))
		return ip_tnl_gre_xmit_drop(skb, dev);
	ip_tnl_gre_send(skb, dev, &f, htons(ETH_P_TEB), NULL, 0);
	return NETDEV_TX_OK;
}

static const struct net_device_ops gretap_netdev_ops = {
	.ndo_init		= ip_tnl_init,
	.ndo_uninit		= ip_tnl_uninit,
	.ndo_open		= ip_tnl_gre_open,
	.ndo_stop		= ip_tnl_gre_stop,
	.ndo_start_xmit		= gretap_xmit,
	.ndo_set_mac_address	= eth_mac_addr,
	.ndo_validate_addr	= eth_validate_addr,
	.ndo_fix_features	= ip_tnl_fix_features,
	.ndo_change_mtu		= ip_tnl_change_mtu,
	.ndo_get_stats64	= dev_get_tstats64,
	.ndo_get_iflink		= ip_tnl_get_iflink,
	.ndo_fill_metadata_dst	= ip_tnl_fill_metadata_dst,
};

static void gretap_setup(struct net_device *dev)
{
	ip_tnl_gre_ether_setup(dev, &ip_tnl_gretap_kind);
	dev->netdev_ops = &gretap_netdev_ops;
}

DEFINE_IP_TNL_PERNET(ip_tnl_gretap_kind);

struct ip_tnl_kind ip_tnl_gretap_kind = {
	.link_ops = {
		.kind		= "gretap",
		.setup		= gretap_setup,
		.validate	= ip_tnl_gre_ether_validate,
	},
	IP_TNL_PERNET(ip_tnl_gretap_kind),
	.fallback_name	= "gretap0",
	.fill_size	= GRE_FILL_SIZE,
	.hlen		= ip_tnl_gre_hlen,
	.changed	= ip_tnl_gre_changed,
	.parse		= ip_tnl_gre_parse,
	.fill		= ip_tnl_gre_fill,
};
