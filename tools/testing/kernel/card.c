// SPDX-License-Identifier: GPL-2.0
/*
 * Network cards that exist in software only, for tools/testing/segments.
 *
 * Loading the module makes one device for each sort of card in the network
 * namespace of the process that loads it. What such a card is given to send is
 * checked against what it said it can, worked on in card_cut.c, and kept.
 *
 *	read  /dev/ip_tnl_card	what was sent since, see card_read()
 *	write /dev/ip_tnl_card	makes packets, see struct card_order
 *
 * Both return when no softirq is left to run on this processor: the test needs
 * a kernel with one.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/etherdevice.h>
#include <linux/fs.h>
#include <linux/if_vlan.h>
#include <linux/interrupt.h>
#include <linux/ip.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nsproxy.h>
#include <linux/rtnetlink.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <net/ip_tunnels.h>

#include "card.h"

#define CARD_BUFFER	(8 << 20)
#define CARD_COUNTED	4096		/* devices */
#define CARD_WAIT	2000		/* jiffies at most for softirqs to end */
#define CARD_SOFTIRQS	(BIT(NET_TX_SOFTIRQ) | BIT(NET_RX_SOFTIRQ) | BIT(TASKLET_SOFTIRQ))

#define TSO		(NETIF_F_TSO | NETIF_F_TSO6 | NETIF_F_TSO_ECN)
#define CUT_TUNNELS	(NETIF_F_GSO_GRE | NETIF_F_GSO_GRE_CSUM | NETIF_F_GSO_IPXIP4 | \
			 NETIF_F_GSO_IPXIP6 | NETIF_F_GSO_UDP_TUNNEL | NETIF_F_GSO_UDP_TUNNEL_CSUM)
#define CUT_ALL		(NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HW_CSUM | TSO | CUT_TUNNELS | \
			 NETIF_F_GSO_UDP_L4)
#define PASS_WHOLE	(NETIF_F_SG | NETIF_F_FRAGLIST | NETIF_F_HW_CSUM | NETIF_F_SCTP_CRC | \
			 NETIF_F_GSO_SOFTWARE | NETIF_F_GSO_ENCAP_ALL)
#define CUT_PARTIAL	(NETIF_F_SG | NETIF_F_HW_CSUM | TSO | NETIF_F_GSO_PARTIAL | CUT_TUNNELS)

/* Sorts of cards: what they can, in encapsulated packets, segments, in part; or a veth's loop. */
static const struct card_sort {
	const char		*name;
	netdev_features_t	features;
	netdev_features_t	encapsulated;
	unsigned int		segments;
	netdev_features_t	partial;
	netdev_features_t	mpls;
} card_sorts[] = {
	{ "in" },
	{ "inlist" },
	{ "none" },
	{ "full", CUT_ALL, CUT_ALL },
	{ "csum", NETIF_F_SG | NETIF_F_HW_CSUM },
	{ "csum-enc", NETIF_F_SG | NETIF_F_HW_CSUM, NETIF_F_SG | NETIF_F_HW_CSUM },
	{ "ipcsum", NETIF_F_SG | NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM },
	{ "nosg", NETIF_F_HW_CSUM, NETIF_F_HW_CSUM },
	{ "tso", NETIF_F_SG | NETIF_F_IP_CSUM | NETIF_F_IPV6_CSUM | TSO },
	{ "partial", CUT_PARTIAL, CUT_PARTIAL, .partial = CUT_TUNNELS },
	{ "max2", CUT_ALL, CUT_ALL, .segments = 2 },
	{ "max17", CUT_ALL, CUT_ALL, .segments = 17 },
	{ "loop", PASS_WHOLE, PASS_WHOLE, .mpls = PASS_WHOLE },
};

struct card {
	struct napi_struct	napi;
	struct sk_buff_head	received;
};

static struct net_device *cards[ARRAY_SIZE(card_sorts)];
static const struct net_device_ops card_ops;

/* ---- what is kept for the reader */

struct card_record {
	u32	len;		/* bytes that follow */
	u32	what;		/* enum ip_tnl_card_record */
};

static DEFINE_MUTEX(card_reader);
static DEFINE_SPINLOCK(card_kept);	/* which one is written, used, lost */
static u8 *buffers[2];			/* one is read from while the other is written to */
static unsigned int card_used;
static bool card_lost;

void ip_tnl_card_keep(enum ip_tnl_card_record what, const void *data, unsigned int len)
{
	const struct card_record record = { .len = len, .what = what };

	spin_lock_bh(&card_kept);
	if (card_used + sizeof(record) + len <= CARD_BUFFER) {
		memcpy(buffers[0] + card_used, &record, sizeof(record));
		memcpy(buffers[0] + card_used + sizeof(record), data, len);
		card_used += sizeof(record) + len;
	} else {
		card_lost = true;
	}
	spin_unlock_bh(&card_kept);
}

/* ---- sending */

static void card_complain(const struct net_device *dev, const char *wrong)
{
	char text[200];

	ip_tnl_card_keep(CARD_COMPLAINT, text,
			 scnprintf(text, sizeof(text), "%s: %s", dev->name, wrong));
}

/* Return: NULL, or what the card cannot do of what it is asked to. */
static const char *card_refuses(const struct sk_buff *skb, const struct net_device *dev)
{
	netdev_features_t features = dev->features;

	if (skb->encapsulation)
		features &= dev->hw_enc_features;
	if (skb_is_nonlinear(skb) && !(dev->features & NETIF_F_SG))
		return "a packet in pieces";
	if (skb_has_frag_list(skb) && !(dev->features & NETIF_F_FRAGLIST))
		return "a packet with a list of fragments";
	/* The segmenter has looked at what a DODGY packet says of itself. */
	if (skb_is_gso(skb) && !net_gso_ok(features, skb_shinfo(skb)->gso_type & ~SKB_GSO_DODGY))
		return "a GSO packet of a type that it cannot cut";
	if (skb_is_gso(skb) && skb_shinfo(skb)->gso_segs > dev->gso_max_segs)
		return "a GSO packet of too many segments";
	if (skb->ip_summed == CHECKSUM_PARTIAL &&
	    (!(features & NETIF_F_CSUM_MASK) || skb->csum_not_inet))
		return "a packet without its checksum";
	return NULL;
}

static bool is_loop(const struct net_device *dev)
{
	return dev->features & NETIF_F_GSO_SCTP;
}

/*
 * As between two hosts without a card: cards[0] receives the packet as it is,
 * with its outer addresses exchanged.
 */
static void card_loop(struct sk_buff *skb)
{
	struct iphdr *ip;

	if (skb_ensure_writable(skb, ETH_HLEN + sizeof(*ip))) {
		kfree_skb(skb);
		return;
	}
	ip = (struct iphdr *)(skb->data + ETH_HLEN);
	swap(ip->saddr, ip->daddr);
	dev_forward_skb(cards[0], skb);
}

static netdev_tx_t card_xmit(struct sk_buff *skb, struct net_device *dev)
{
	const char *wrong;

	if (is_loop(dev)) {
		card_loop(skb);
		return NETDEV_TX_OK;
	}
	wrong = card_refuses(skb, dev) ?: ip_tnl_card_send(skb);
	if (wrong)
		card_complain(dev, wrong);
	DEV_STATS_INC(dev, tx_packets);
	consume_skb(skb);
	return NETDEV_TX_OK;
}

/* ---- receiving */

static int card_poll(struct napi_struct *napi, int budget)
{
	struct card *card = container_of(napi, struct card, napi);
	struct sk_buff *skb;
	int done = 0;

	while (done < budget && (skb = __skb_dequeue(&card->received))) {
		napi_gro_receive(napi, skb);
		done++;
	}
	if (done < budget)
		napi_complete_done(napi, done);
	return done;
}

static int card_open(struct net_device *dev)
{
	struct card *card = netdev_priv(dev);

	napi_enable(&card->napi);
	return 0;
}

static int card_stop(struct net_device *dev)
{
	struct card *card = netdev_priv(dev);

	napi_disable(&card->napi);
	__skb_queue_purge(&card->received);
	return 0;
}

/* ---- packets to order */

enum card_order_what {
	ORDER_RECEIVE,		/* a packet, GSO or not, as by the card's driver */
	ORDER_GRO,		/* a frame that goes through GRO, with those ordered next to it */
	ORDER_TRANSMIT,		/* handed to the device for sending */
	ORDER_NUMBER,		/* the tunnel's next sequence number is gso_size << 16 | gso_segs */
	ORDER_TRANSMIT_L3,	/* as ORDER_TRANSMIT, of a packet without an Ethernet header */
	ORDER_MARK,		/* its 8 bytes are kept after all that was sent before it */
};

enum card_order_type { TYPE_NONE, TYPE_TCP4, TYPE_TCP6, TYPE_UDP, TYPE_SCTP };

static const unsigned int gso_types[] = {
	[TYPE_TCP4] = SKB_GSO_TCPV4, [TYPE_TCP6] = SKB_GSO_TCPV6, [TYPE_UDP] = SKB_GSO_UDP_L4,
	[TYPE_SCTP] = SKB_GSO_SCTP,
};

enum card_order_flags {
	FLAG_DODGY	= 1,	/* nobody has checked what it says of itself */
	FLAG_SUMMED	= 2,	/* its checksum was verified */
	FLAG_SUM_LEFT	= 4,	/* csum_start and csum_offset say where it is to be put */
	FLAG_CRC	= 8,	/* and it is SCTP's */
	FLAG_CLONED	= 16,	/* somebody else has a clone of it */
	FLAG_SHARED	= 32,	/* somebody else has a reference to it; only where it is received */
	FLAG_COUNTS	= 64,	/* of a mark: keep what the devices count, too */
	FLAG_UNTIL_DOWN	= 128,	/* received; then no softirq before device "protocol" is down */
};

/* What is written to the device: orders, each with its frame, and padded to 4 bytes. */
struct card_order {
	u32	len;		/* of the frame */
	u32	ifindex;
	u16	what;
	u16	type;
	u16	flags;
	u16	gso_size;
	u16	gso_segs;
	u16	csum_start;
	u16	csum_offset;
	u16	head;		/* bytes in the linear part, 0: all */
	u16	piece;		/* bytes of each skb in the frag list; 0: pages instead */
	u16	protocol;	/* EtherType, for ORDER_TRANSMIT_L3; see FLAG_UNTIL_DOWN */
};

static int card_add_pages(struct sk_buff *skb, const u8 *data, unsigned int len)
{
	while (len) {
		unsigned int size = min_t(unsigned int, len, PAGE_SIZE);
		struct page *page = alloc_page(GFP_KERNEL);

		if (!page)
			return -ENOMEM;
		memcpy(page_address(page), data, size);
		skb_add_rx_frag(skb, skb_shinfo(skb)->nr_frags, page, 0, size, PAGE_SIZE);
		data += size;
		len -= size;
	}
	return 0;
}

static int card_add_list(struct sk_buff *skb, const u8 *data, unsigned int len, unsigned int piece)
{
	struct sk_buff **next = &skb_shinfo(skb)->frag_list;

	while (len) {
		unsigned int size = min(len, piece);
		struct sk_buff *one = alloc_skb(NET_SKB_PAD + size, GFP_KERNEL);

		if (!one)
			return -ENOMEM;
		skb_reserve(one, NET_SKB_PAD);
		skb_put_data(one, data, size);
		*next = one;
		next = &one->next;
		skb->len += size;
		skb->data_len += size;
		skb->truesize += one->truesize;
		data += size;
		len -= size;
	}
	return 0;
}

static void card_describe(struct sk_buff *skb, const struct card_order *o)
{
	struct skb_shared_info *info = skb_shinfo(skb);

	if (o->flags & FLAG_SUMMED)
		skb->ip_summed = CHECKSUM_UNNECESSARY;
	if (o->flags & FLAG_SUM_LEFT) {
		skb->ip_summed = CHECKSUM_PARTIAL;
		skb->csum_start = skb_headroom(skb) + o->csum_start;
		skb->csum_offset = o->csum_offset;
		skb->csum_not_inet = !!(o->flags & FLAG_CRC);
		skb_set_transport_header(skb, o->csum_start);
	}
	if (o->type == TYPE_NONE)
		return;
	info->gso_type = gso_types[o->type] | (o->flags & FLAG_DODGY ? SKB_GSO_DODGY : 0);
	info->gso_size = o->gso_size;
	info->gso_segs = o->gso_segs;
}

static struct sk_buff *card_make(const struct card_order *o, const u8 *frame)
{
	unsigned int head = o->head ?: o->len;
	struct sk_buff *skb = alloc_skb(NET_SKB_PAD + 128 + head, GFP_KERNEL);
	int err;

	if (!skb)
		return NULL;
	skb_reserve(skb, NET_SKB_PAD + 128);
	skb_put_data(skb, frame, head);
	if (o->piece)
		err = card_add_list(skb, frame + head, o->len - head, o->piece);
	else
		err = card_add_pages(skb, frame + head, o->len - head);
	if (err) {
		kfree_skb(skb);
		return NULL;
	}
	card_describe(skb, o);
	return skb;
}

static void card_receive(struct net_device *dev, struct sk_buff *skb)
{
	skb->protocol = eth_type_trans(skb, dev);
	local_bh_disable();
	netif_receive_skb(skb);
	local_bh_enable();
}

/*
 * With BH off another CPU brings the device down. Without another one, it is for the softirqs
 * as if: the bit that they look at is what is cleared first.
 */
static void card_receive_until_down(struct net_device *dev, struct sk_buff *skb,
				    struct net_device *down)
{
	bool alone = num_online_cpus() == 1;
	unsigned long end = jiffies + CARD_WAIT;

	skb->protocol = eth_type_trans(skb, dev);
	local_bh_disable();
	netif_receive_skb(skb);
	if (alone)
		clear_bit(__LINK_STATE_START, &down->state);
	while (netif_running(down) && time_before(jiffies, end))
		cpu_relax();
	local_bh_enable();
	if (alone)
		set_bit(__LINK_STATE_START, &down->state);
}

static void card_transmit(struct net_device *dev, struct sk_buff *skb)
{
	int depth = ETH_HLEN;

	skb_reset_mac_header(skb);
	skb->dev = dev;
	skb->protocol = eth_hdr(skb)->h_proto;
	/* As by a packet socket: the network header is behind all tags, which are linear. */
	if (eth_type_vlan(skb->protocol) &&
	    !(__vlan_get_protocol(skb, skb->protocol, &depth) && pskb_may_pull(skb, depth)))
		depth = ETH_HLEN;
	skb_set_network_header(skb, depth);
	dev_queue_xmit(skb);
}

static void card_transmit_l3(struct net_device *dev, struct sk_buff *skb, u16 protocol)
{
	skb_reset_mac_header(skb);
	skb_reset_network_header(skb);
	skb->dev = dev;
	skb->protocol = htons(protocol);
	dev_queue_xmit(skb);
}

static void card_gro(struct net_device *dev, struct sk_buff *skb)
{
	struct card *card = netdev_priv(dev);

	skb->protocol = eth_type_trans(skb, dev);
	skb_record_rx_queue(skb, 0);
	__skb_queue_tail(&card->received, skb);
}

static int card_order(struct net_device *dev, const struct card_order *o, const u8 *frame)
{
	struct ip_tunnel *t = netdev_priv(dev);
	struct sk_buff *skb, *other = NULL;
	struct net_device *down = NULL;

	if (o->what == ORDER_NUMBER) {
		atomic_set(&t->o_seqno, o->gso_size << 16 | o->gso_segs);
		t->i_seqno = 0;		/* the next one received may have any number */
		return 0;
	}
	skb = card_make(o, frame);
	if (!skb)
		return -ENOMEM;
	if (o->flags & FLAG_UNTIL_DOWN)
		down = dev_get_by_index(dev_net(dev), o->protocol);
	if (o->flags & FLAG_CLONED)
		other = skb_clone(skb, GFP_KERNEL);
	else if (o->flags & FLAG_SHARED && o->what == ORDER_RECEIVE)
		other = skb_get(skb);
	switch (o->what) {
	case ORDER_RECEIVE:
		if (!down)
			card_receive(dev, skb);
		else
			card_receive_until_down(dev, skb, down);
		break;
	case ORDER_GRO:
		card_gro(dev, skb);
		break;
	case ORDER_TRANSMIT_L3:
		card_transmit_l3(dev, skb, o->protocol);
		break;
	default:
		card_transmit(dev, skb);
	}
	kfree_skb(other);
	if (down)
		dev_put(down);
	return 0;
}

/* Until no packet is left for softirqs to work on. */
static void card_settle(void)
{
	int i;

	local_bh_disable();
	local_bh_enable();
	for (i = 0; i < CARD_WAIT && local_softirq_pending() & CARD_SOFTIRQS; i++)
		schedule_timeout_uninterruptible(1);
}

static void card_start_gro(void)
{
	struct card *card;
	int i;

	local_bh_disable();
	for (i = 0; i < ARRAY_SIZE(cards); i++) {
		card = netdev_priv(cards[i]);
		if (!skb_queue_empty(&card->received))
			napi_schedule(&card->napi);
	}
	local_bh_enable();
}

struct card_counts {
	u64	packets;
	u64	bytes;
	u64	dropped;
};

/* What each device received since the last time, as a line of text. */
static void card_keep_counts(struct net *net)
{
	static struct card_counts last[CARD_COUNTED];	/* by ifindex, under card_reader */
	struct rtnl_link_stats64 stats;
	struct net_device *dev;
	struct card_counts now, *old;
	char text[100];

	mutex_lock(&card_reader);
	rcu_read_lock();
	for_each_netdev_rcu(net, dev) {
		if (dev->ifindex >= CARD_COUNTED || dev->netdev_ops == &card_ops)
			continue;
		dev_get_stats(dev, &stats);
		now = (struct card_counts){ stats.rx_packets, stats.rx_bytes, stats.rx_dropped };
		old = &last[dev->ifindex];
		if (memcmp(&now, old, sizeof(now)))
			ip_tnl_card_keep(CARD_COUNTS, text,
					 scnprintf(text, sizeof(text),
						   "%s: %llu packets, %llu bytes, %llu dropped",
						   dev->name, now.packets - old->packets,
						   now.bytes - old->bytes,
						   now.dropped - old->dropped));
		*old = now;
	}
	rcu_read_unlock();
	mutex_unlock(&card_reader);
}

static void card_mark(struct net *net, const struct card_order *o, const u8 *number)
{
	card_start_gro();
	card_settle();
	if (o->flags & FLAG_COUNTS)
		card_keep_counts(net);
	ip_tnl_card_keep(CARD_MARK, number, sizeof(u64));
}

/* Bytes of the frame at least. */
static unsigned int card_order_min(enum card_order_what what)
{
	switch (what) {
	case ORDER_NUMBER:
		return 0;
	case ORDER_MARK:
		return sizeof(u64);
	default:
		return ETH_HLEN;
	}
}

/* Return: bytes of the order, or an errno. */
static int card_take_order(struct net *net, const u8 *from, size_t left)
{
	const struct card_order *o = (const struct card_order *)from;
	struct net_device *dev;
	int err;

	if (left < sizeof(*o) || o->len > left - sizeof(*o) || o->len > CARD_FRAME_MAX ||
	    o->head > o->len || o->type >= ARRAY_SIZE(gso_types) ||
	    o->len < card_order_min(o->what))
		return -EINVAL;
	if (o->what == ORDER_MARK) {
		card_mark(net, o, from + sizeof(*o));
		return ALIGN(sizeof(*o) + o->len, 4);
	}
	dev = dev_get_by_index(net, o->ifindex);
	if (!dev)
		return -ENODEV;
	if (!(dev->flags & IFF_UP) || (o->what == ORDER_GRO && dev->netdev_ops != &card_ops)) {
		dev_put(dev);
		return -ENETDOWN;
	}
	err = card_order(dev, o, from + sizeof(*o));
	dev_put(dev);
	return err ?: ALIGN(sizeof(*o) + o->len, 4);
}

static ssize_t card_write(struct file *file, const char __user *from, size_t len, loff_t *pos)
{
	struct net *net = current->nsproxy->net_ns;
	size_t done = 0;
	int size = 0;
	u8 *orders;

	if (len > CARD_BUFFER)
		return -EMSGSIZE;
	orders = vmalloc(len + 1);
	if (!orders)
		return -ENOMEM;
	if (copy_from_user(orders, from, len))
		size = -EFAULT;
	while (size >= 0 && done < len) {
		size = card_take_order(net, orders + done, len - done);
		done += max(size, 0);
		cond_resched();
	}
	vfree(orders);
	card_start_gro();
	card_settle();
	return size < 0 ? size : len;
}

/* All that was kept, in one go: struct card_record, bytes; and so on. */
static ssize_t card_read(struct file *file, char __user *to, size_t len, loff_t *pos)
{
	unsigned int used;
	bool lost;

	card_settle();
	mutex_lock(&card_reader);
	spin_lock_bh(&card_kept);
	swap(buffers[0], buffers[1]);
	used = card_used;
	lost = card_lost;
	card_used = 0;
	card_lost = false;
	spin_unlock_bh(&card_kept);
	if (lost || used > len)
		used = -EOVERFLOW;
	else if (copy_to_user(to, buffers[1], used))
		used = -EFAULT;
	mutex_unlock(&card_reader);
	return (int)used;
}

static const struct file_operations card_fops = {
	.owner	= THIS_MODULE,
	.read	= card_read,
	.write	= card_write,
	.llseek	= noop_llseek,
};

static struct miscdevice card_misc = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= "ip_tnl_card",
	.fops	= &card_fops,
};

/* ---- devices */

static const struct net_device_ops card_ops = {
	.ndo_open		= card_open,
	.ndo_stop		= card_stop,
	.ndo_start_xmit		= card_xmit,
	.ndo_set_mac_address	= eth_mac_addr,
};

static void card_setup(struct net_device *dev)
{
	ether_setup(dev);
	dev->netdev_ops = &card_ops;
	dev->flags |= IFF_NOARP;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->min_mtu = ETH_MIN_MTU;
	dev->max_mtu = ETH_MAX_MTU;
}

static void card_features(struct net_device *dev, const struct card_sort *sort)
{
	dev->features |= sort->features;
	dev->hw_features |= sort->features;
	dev->hw_enc_features |= sort->encapsulated;
	dev->vlan_features |= sort->features;
	dev->mpls_features |= sort->mpls;
	dev->gso_partial_features = sort->partial;
	if (sort->segments)
		netif_set_tso_max_segs(dev, sort->segments);
}

static struct net_device *card_make_device(struct net *net, const struct card_sort *sort)
{
	struct net_device *dev = alloc_netdev(sizeof(struct card), sort->name, NET_NAME_ENUM,
					      card_setup);
	struct card *card;
	int err;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	card = netdev_priv(dev);
	dev_net_set(dev, net);
	card_features(dev, sort);
	eth_hw_addr_set(dev, (const u8 []) { 2, 0, 0, 0, 0xca, 1 });
	skb_queue_head_init(&card->received);
	netif_napi_add(dev, &card->napi, card_poll);
	err = register_netdev(dev);
	if (err) {
		netif_napi_del(&card->napi);
		free_netdev(dev);
		return ERR_PTR(err);
	}
	return dev;
}

static void card_remove_devices(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(cards); i++) {
		if (!cards[i])
			continue;
		unregister_netdev(cards[i]);
		free_netdev(cards[i]);
	}
}

static void card_free(void)
{
	vfree(buffers[0]);
	vfree(buffers[1]);
}

static int __init card_init(void)
{
	struct net_device *dev;
	int i, err = -ENOMEM;

	for (i = 0; i < ARRAY_SIZE(buffers); i++)
		buffers[i] = vmalloc(CARD_BUFFER);
	if (!buffers[0] || !buffers[1])
		goto err_buffers;
	for (i = 0; i < ARRAY_SIZE(cards); i++) {
		dev = card_make_device(current->nsproxy->net_ns, &card_sorts[i]);
		if (IS_ERR(dev)) {
			err = PTR_ERR(dev);
			goto err_devices;
		}
		cards[i] = dev;
	}
	err = misc_register(&card_misc);
	if (err)
		goto err_devices;
	return 0;

err_devices:
	card_remove_devices();
err_buffers:
	card_free();
	return err;
}

static void __exit card_exit(void)
{
	misc_deregister(&card_misc);
	card_remove_devices();
	card_free();
}

module_init(card_init);
module_exit(card_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("network cards in software, to test tunnels with");
