// SPDX-License-Identifier: GPL-2.0
/*
 * From the tunnel to the payload's stack: a queue and a NAPI context on each CPU.
 *
 *	ip_tnl_rcv		ip_tnl_cell_receive(): queued, on the same CPU
 *	NAPI			ip_tnl_cell_poll(): through GRO or past it
 *
 * The queue keeps the stack flat however deep tunnels are nested, and hands
 * packets on many at a time. The kernel's gro_cells do so for one device each,
 * at a NAPI context for every device and CPU, and take all packets through GRO.
 * One cell per CPU serves all tunnels, and what GRO cannot join goes past it.
 *
 * What GRO can join: TCP; of UDP the flows that a socket or the device asks to
 * have joined. GRO is asked that, about once a second, for each pair of addresses:
 * most fragments have no ports.
 *
 * Order. A packet is put into one of two queues, for GRO and past it, by what is in
 * all packets of its flow, in one piece or not, segmented or not; GRO's answers change
 * that only at a moment when both queues are empty and GRO holds nothing. A packet
 * whose flow GRO does not see would pass what it holds of that flow, so GRO lets go of
 * all that it holds before.
 *
 * Lifetime. A queued packet has no reference to its device. ip_tnl_cells_settle()
 * waits for what is queued; ip_tunnel_core.c says when a device calls it.
 */
#include <linux/hash.h>
#include <linux/if_vlan.h>
#include <linux/local_lock.h>
#include <linux/netdevice.h>
#include <linux/wait.h>
#include <net/gre.h>
#include <net/gro.h>
#include <net/hotdata.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/mpls.h>
#include <net/protocol.h>

#include "gre_header.h"
#include "ip_tnl.h"

#define IP_TNL_UDP_BITS		6

/*
 * The tunnels' packets on one CPU. All but @taken and @settled belongs to that
 * CPU's softirq, and where softirqs can be preempted to who holds @bh_lock.
 */
struct ip_tnl_cell {
	local_lock_t		bh_lock;
	struct sk_buff_head	gro;		/* queue for GRO */
	struct sk_buff_head	past;		/* queue past GRO */
	u32			taken;		/* packets queued since ever */
	u32			settled;	/* of those, how many are delivered */
	struct napi_struct	napi;

	/*
	 * Of UDP, the last pair of addresses of which GRO did not want a packet since both
	 * queues were last empty; until jiffies @forget_at the pairs it does not want; and
	 * for how many such times more it is remembered that it wanted a flow of a pair.
	 */
	u64			answer;
	unsigned long		forget_at;
	u64			unwanted[1 << IP_TNL_UDP_BITS];
	u8			wanted[1 << IP_TNL_UDP_BITS];
};

static struct ip_tnl_cell __percpu *ip_tnl_cells;
static struct net_device *ip_tnl_napi_dev;
static DECLARE_WAIT_QUEUE_HEAD(ip_tnl_settled);

/* A number for a pair of addresses, and its place. Pairs that share one share GRO's answer. */
static u64 ip_tnl_udp_pair(const struct sk_buff *skb, const struct iphdr *iph)
{
	u64 ends = (u64)(__force u32)iph->saddr << 32 | (__force u32)iph->daddr;

	return (ends ^ (unsigned long)skb->dev) * GOLDEN_RATIO_64 | 1;
}

static unsigned int ip_tnl_udp_place(u64 pair)
{
	return pair >> (64 - IP_TNL_UDP_BITS);
}

/* Whether a UDP packet goes past GRO. */
static bool ip_tnl_udp_past_gro(struct ip_tnl_cell *cell, const struct sk_buff *skb,
				const struct iphdr *iph)
{
	u64 pair;

	if (skb->dev->features & (NETIF_F_GRO_FRAGLIST | NETIF_F_GRO_UDP_FWD))
		return false;
	pair = ip_tnl_udp_pair(skb, iph);
	return cell->unwanted[ip_tnl_udp_place(pair)] == pair;
}

static bool ip_tnl_past_gro(struct ip_tnl_cell *cell, const struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);

	if (unlikely(!(skb->dev->features & NETIF_F_GRO)))
		return true;
	/* GRO joins no labelled packets, but would take their transport header away. */
	if (skb->protocol != htons(ETH_P_IP))
		return eth_p_mpls(skb->protocol);
	if (iph->protocol == IPPROTO_TCP)
		return false;
	if (iph->protocol == IPPROTO_UDP)
		return ip_tnl_udp_past_gro(cell, skb, iph);
	return !rcu_access_pointer(inet_offloads[iph->protocol]);
}

/* The pair that GRO's answer to a packet is about, or 0: it leaves GSO packets alone in any case. */
static u64 ip_tnl_question(const struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);

	if (skb->protocol != htons(ETH_P_IP) || iph->protocol != IPPROTO_UDP || skb_is_gso(skb))
		return 0;
	return ip_tnl_udp_pair(skb, iph);
}

/*
 * Steps over an IPv4 or IPv6 header to the next one that GRO looks at. Return: its
 * place, with the protocol in @next, or NULL for a header that it does not look behind.
 */
static const void *ip_tnl_gro_ip(const void *at, const void *end, __be16 proto, u8 *next)
{
	const struct ipv6hdr *ip6h = at;
	const struct iphdr *iph = at;

	if (proto == htons(ETH_P_IP)) {
		if (at + sizeof(*iph) > end || iph->ihl != 5 || ip_is_fragment(iph))
			return NULL;
		*next = iph->protocol;
		return iph + 1;
	}
	if (at + sizeof(*ip6h) > end)
		return NULL;
	*next = ip6h->nexthdr;
	return ip6h + 1;
}

/*
 * Whether GRO does not see of which flow a packet is: fragments, IP options, extension
 * headers, also in a tunnel in the tunnel, and GSO packets of other protocols than TCP.
 */
static bool ip_tnl_gro_is_blind(const struct sk_buff *skb)
{
	const void *end = skb_tail_pointer(skb), *at = skb->data;
	const struct gre_base_hdr *gre;
	__be16 proto = skb->protocol;
	u8 next;

	if (skb_is_gso(skb) && !skb_is_gso_tcp(skb))
		return true;
	for (;;) {
		for (; eth_type_vlan(proto) && at + VLAN_HLEN <= end; at += VLAN_HLEN)
			proto = ((const struct vlan_hdr *)at)->h_vlan_encapsulated_proto;
		if (proto != htons(ETH_P_IP) && proto != htons(ETH_P_IPV6))
			return false;
		at = ip_tnl_gro_ip(at, end, proto, &next);
		if (!at)
			return true;
		switch (next) {
		case IPPROTO_TCP:
		case IPPROTO_UDP:
			return false;
		case IPPROTO_IPIP:
			proto = htons(ETH_P_IP);
			break;
		case IPPROTO_IPV6:
			proto = htons(ETH_P_IPV6);
			break;
		case IPPROTO_GRE:
			gre = at;
			if (at + sizeof(*gre) > end)
				return true;
			proto = gre->protocol;
			at += gre_options_len(gre->flags);
			break;
		default:
			return true;
		}
	}
}

static void ip_tnl_gro_receive(struct ip_tnl_cell *cell, struct sk_buff *skb)
{
	u64 pair = ip_tnl_question(skb);
	gro_result_t answer;

	/* GRO writes to headers, which a packet socket may still have to read. */
	if (skb_unclone(skb, GFP_ATOMIC)) {
		dev_core_stats_rx_dropped_inc(skb->dev);
		kfree_skb(skb);
		return;
	}
	if (ip_tnl_gro_is_blind(skb))
		napi_gro_flush(&cell->napi, false);
	answer = napi_gro_receive(&cell->napi, skb);
	if (pair && answer == GRO_NORMAL)
		cell->answer = pair;
	else if (pair)
		cell->wanted[ip_tnl_udp_place(pair)] = 2;
}

static void ip_tnl_forget_answers(struct ip_tnl_cell *cell)
{
	int i;

	cell->forget_at = jiffies + HZ;
	memset(cell->unwanted, 0, sizeof(cell->unwanted));
	for (i = 0; i < ARRAY_SIZE(cell->wanted); i++)
		if (cell->wanted[i])
			cell->wanted[i]--;
}

/* Both queues are empty, and GRO holds nothing. */
static void ip_tnl_note_answer(struct ip_tnl_cell *cell)
{
	unsigned int place = ip_tnl_udp_place(cell->answer);

	if (time_after(jiffies, cell->forget_at))
		ip_tnl_forget_answers(cell);
	if (cell->answer && !cell->wanted[place])
		cell->unwanted[place] = cell->answer;
	cell->answer = 0;
}

/* Moves at most @budget packets from one queue to another. Return: how many. */
static int ip_tnl_move(struct sk_buff_head *from, struct sk_buff_head *to, int budget)
{
	int done;

	if (skb_queue_len(from) <= budget) {
		done = skb_queue_len(from);
		skb_queue_splice_tail_init(from, to);
		return done;
	}
	for (done = 0; done < budget; done++)
		__skb_queue_tail(to, __skb_dequeue(from));
	return done;
}

/* The packets of a queue, which is used up, on the other sort of list. */
static void ip_tnl_receive_list(struct sk_buff_head *queue)
{
	LIST_HEAD(list);

	if (skb_queue_empty(queue))
		return;
	BUILD_BUG_ON(offsetof(struct sk_buff, list) != offsetof(struct sk_buff, next));
	BUILD_BUG_ON(offsetof(struct list_head, prev) != offsetof(struct sk_buff, prev));
	list.next = &queue->next->list;
	list.prev = &queue->prev->list;
	list.next->prev = &list;
	list.prev->next = &list;
	netif_receive_skb_list(&list);
}

static int ip_tnl_cell_poll(struct napi_struct *napi, int budget)
{
	struct ip_tnl_cell *cell = container_of(napi, struct ip_tnl_cell, napi);
	struct sk_buff_head gro, past;
	struct sk_buff *skb;
	unsigned int left;
	u32 settled;
	int done;

	__skb_queue_head_init(&gro);
	__skb_queue_head_init(&past);
	local_lock_nested_bh(&ip_tnl_cells->bh_lock);
	done = ip_tnl_move(&cell->gro, &gro, budget) + ip_tnl_move(&cell->past, &past, budget);
	left = skb_queue_len(&cell->gro) + skb_queue_len(&cell->past);
	settled = cell->taken - left;
	local_unlock_nested_bh(&ip_tnl_cells->bh_lock);

	while ((skb = __skb_dequeue(&gro)))
		ip_tnl_gro_receive(cell, skb);
	/* Who waits for what is queued now does not wait until nothing more is. */
	if (left && !wq_has_sleeper(&ip_tnl_settled)) {
		ip_tnl_receive_list(&past);
		return budget;
	}
	done = min(done, budget - 1);
	napi_complete_done(napi, done);
	/* GRO's packets may have come back, out of a tunnel in the tunnel. */
	if (skb_queue_empty(&cell->gro) && skb_queue_empty(&cell->past))
		ip_tnl_note_answer(cell);
	ip_tnl_receive_list(&past);

	/* What is counted has been delivered: pairs with ip_tnl_cell_is_settled(). */
	smp_store_release(&cell->settled, settled);
	if (wq_has_sleeper(&ip_tnl_settled))
		wake_up_all(&ip_tnl_settled);
	if (left)
		napi_schedule(napi);
	return done;
}

/**
 * ip_tnl_cell_receive() - deliver a packet that has left its tunnel
 * @skb: network header at the data, basic IP header linear, device the tunnel's;
 *	consumed
 *
 * It is delivered by this CPU, after the present softirq handler is done.
 *
 * Context: softirq or BH off, RCU read side.
 */
void ip_tnl_cell_receive(struct sk_buff *skb)
{
	struct ip_tnl_cell *cell;
	unsigned int queued;

	local_lock_nested_bh(&ip_tnl_cells->bh_lock);
	cell = this_cpu_ptr(ip_tnl_cells);
	queued = skb_queue_len(&cell->gro) + skb_queue_len(&cell->past);
	if (unlikely(queued > net_max_backlog())) {
		local_unlock_nested_bh(&ip_tnl_cells->bh_lock);
		dev_core_stats_rx_dropped_inc(skb->dev);
		kfree_skb(skb);
		return;
	}
	__skb_queue_tail(ip_tnl_past_gro(cell, skb) ? &cell->past : &cell->gro, skb);
	WRITE_ONCE(cell->taken, cell->taken + 1);
	if (!queued)
		napi_schedule(&cell->napi);
	local_unlock_nested_bh(&ip_tnl_cells->bh_lock);
}

static bool ip_tnl_cell_is_settled(const struct ip_tnl_cell *cell, u32 taken)
{
	/* What is counted has been delivered: pairs with ip_tnl_cell_poll(). */
	return (s32)(smp_load_acquire(&cell->settled) - taken) >= 0;
}

/**
 * ip_tnl_cells_settle() - wait until all that is queued has been delivered
 *
 * Packets that come later are not waited for: the caller made sure that none
 * comes that matters.
 *
 * Context: process.
 */
void ip_tnl_cells_settle(void)
{
	struct ip_tnl_cell *cell;
	u32 taken;
	int cpu;

	for_each_possible_cpu(cpu) {
		cell = per_cpu_ptr(ip_tnl_cells, cpu);
		taken = READ_ONCE(cell->taken);
		if (!ip_tnl_cell_is_settled(cell, taken))
			wait_event(ip_tnl_settled, ip_tnl_cell_is_settled(cell, taken));
	}
}

/**
 * ip_tnl_cells_init() - make the cells
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM.
 */
int ip_tnl_cells_init(void)
{
	struct ip_tnl_cell *cell;
	int cpu;

	ip_tnl_napi_dev = alloc_netdev_dummy(0);
	if (!ip_tnl_napi_dev)
		return -ENOMEM;
	ip_tnl_cells = alloc_percpu(struct ip_tnl_cell);
	if (!ip_tnl_cells) {
		free_netdev(ip_tnl_napi_dev);
		return -ENOMEM;
	}
	for_each_possible_cpu(cpu) {
		cell = per_cpu_ptr(ip_tnl_cells, cpu);
		local_lock_init(&cell->bh_lock);
		__skb_queue_head_init(&cell->gro);
		__skb_queue_head_init(&cell->past);
		set_bit(NAPI_STATE_NO_BUSY_POLL, &cell->napi.state);
		netif_napi_add(ip_tnl_napi_dev, &cell->napi, ip_tnl_cell_poll);
		napi_enable(&cell->napi);
	}
	return 0;
}

/**
 * ip_tnl_cells_exit() - undo ip_tnl_cells_init()
 *
 * Context: process; there is no tunnel any more.
 */
void ip_tnl_cells_exit(void)
{
	struct ip_tnl_cell *cell;
	int cpu;

	for_each_possible_cpu(cpu) {
		cell = per_cpu_ptr(ip_tnl_cells, cpu);
		napi_disable(&cell->napi);
		netif_napi_del(&cell->napi);
	}
	free_percpu(ip_tnl_cells);
	free_netdev(ip_tnl_napi_dev);
}
