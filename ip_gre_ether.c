// SPDX-License-Identifier: GPL-2.0
/*
 * What gretap and erspan share: devices that take Ethernet frames.
 */
#include <linux/etherdevice.h>
#include <linux/if_vlan.h>
#include <net/ip.h>
#include <net/netlink.h>

#include "ip_gre.h"

/* Tags that are looked behind for an IP header. */
#define GRE_ETHER_MAX_TAGS	8

/**
 * ip_tnl_gre_ether_payload() - find out what a frame carries
 * @skb: frame, Ethernet header at skb->data; on success its network header is
 *	that of the payload, behind all VLAN tags, and a basic IP header is linear
 * @payload: set to the payload's ethertype in network byte order, or 0 if
 *	nothing is to be read there: it is no IP packet
 *
 * Return: false for what is no frame, or an IP packet cut short in its header.
 */
bool ip_tnl_gre_ether_payload(struct sk_buff *skb, __be16 *payload)
{
	int at = ETH_HLEN, tags = 0;
	const struct vlan_hdr *vh;
	struct vlan_hdr buf;
	unsigned int need;
	__be16 proto;

	if (!pskb_may_pull(skb, ETH_HLEN))
		return false;
	proto = ((const struct ethhdr *)skb->data)->h_proto;
	while (eth_type_vlan(proto) && tags++ < GRE_ETHER_MAX_TAGS) {
		vh = skb_header_pointer(skb, at, sizeof(buf), &buf);
		if (!vh)
			break;
		proto = vh->h_vlan_encapsulated_proto;
		at += VLAN_HLEN;
	}
	if (skb_network_offset(skb) < ETH_HLEN || proto == htons(ETH_P_IP) ||
	    proto == htons(ETH_P_IPV6))
		skb_set_network_header(skb, min_t(unsigned int, at, skb->len));

	*payload = 0;
	need = proto == htons(ETH_P_IP) ? sizeof(struct iphdr) :
	       proto == htons(ETH_P_IPV6) ? sizeof(struct ipv6hdr) : 0;
	if (!need)
		return true;
	if (!pskb_may_pull(skb, at + need))
		return false;
	if (ip_hdr(skb)->version == (proto == htons(ETH_P_IP) ? 4 : 6))
		*payload = proto;
	return true;
}

/**
 * ip_tnl_gre_ether_setup() - what kinds with an Ethernet payload have in common
 * @dev: device just allocated
 * @kind: its kind
 */
void ip_tnl_gre_ether_setup(struct net_device *dev, struct ip_tnl_kind *kind)
{
	ether_setup(dev);
	dev->max_mtu = 0;	/* ip_tnl_change_mtu() knows */
	dev->priv_flags &= ~IFF_TX_SKB_SHARING;
	dev->priv_flags |= IFF_LIVE_ADDR_CHANGE;
	ip_tnl_setup(dev, kind);
}

/* rtnl_link_ops.validate of the kinds with an Ethernet address */
int ip_tnl_gre_ether_validate(struct nlattr *tb[], struct nlattr *data[],
			      struct netlink_ext_ack *extack)
{
	struct nlattr *address = tb[IFLA_ADDRESS];

	if (address && nla_len(address) != ETH_ALEN) {
		NL_SET_ERR_MSG_ATTR(extack, address, "An Ethernet address has 6 bytes");
		return -EINVAL;
	}
	if (address && !is_valid_ether_addr(nla_data(address))) {
		NL_SET_ERR_MSG_ATTR(extack, address, "Not the address of one Ethernet station");
		return -EADDRNOTAVAIL;
	}
	if (data && data[IFLA_GRE_REMOTE] && !nla_get_in_addr(data[IFLA_GRE_REMOTE])) {
		NL_SET_ERR_MSG_ATTR(extack, data[IFLA_GRE_REMOTE],
				    "To take any remote address, leave it out");
		return -EINVAL;
	}
	return 0;
}
