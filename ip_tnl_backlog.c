// SPDX-License-Identifier: GPL-2.0
/*
 * From the tunnel to the payload's stack: a backlog and a NAPI context for each CPU.
 *
 *	ip_tnl_rcv		ip_tnl_backlog_enqueue(), on the same CPU
 *	NAPI			ip_tnl_backlog_poll(): through GRO, or without it
 *
 * The backlog keeps the stack flat however deep tunnels are nested, and delivers packets
 * in batches. The kernel's gro_cells do that for one device, with a NAPI context for each
 * device and CPU, and pass everything through GRO. Here one backlog per CPU serves all
 * tunnels, and what GRO cannot merge skips it.
 *
 * GRO merges TCP, and UDP flows for which a socket or the device asks for it. For UDP the
 * result of GRO is remembered for about a second, for a pair of addresses rather than for
 * a flow, since most fragments have no ports.
 *
 * Ordering. The queue of a packet, with GRO or without, depends on what all packets of
 * its flow have in common, fragments and GSO packets included. What is remembered about
 * GRO changes only while both queues are empty and GRO holds no packet. A packet in which
 * GRO does not recognise the flow could overtake packets of that flow which GRO holds, so
 * GRO is flushed before it.
 *
 * Fairness. One device alone may have net.core.netdev_max_backlog packets waiting, as if the
 * backlog were its own. Beyond that, a device's packet is queued only while no more of its
 * packets wait than there is room left for all devices, which is twice that number (dynamic
 * thresholds, Choudhury and Hahne 1998): devices that flood leave room for the others.
 *
 * Lifetime. A queued packet holds no reference to its device. ip_tnl_backlog_flush()
 * waits for what is queued; ip_tnl_dev.c says when a device calls it. By then nobody waits
 * any more for references to the device, which the stack may take: so packets of a device
 * that is down are dropped. A poll that still sees it running ends before the grace period
 * after which its references are waited for.
 *
 * CPU hotplug. The NAPI context of a CPU that goes offline is run by another one until its
 * queues are empty. A CPU does not come back before that: see ip_tnl_backlog_prepare_cpu().
 */
#include <linux/cpuhotplug.h>
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
#include <net/netns/hash.h>
#include <net/protocol.h>

#include "gre_header.h"
#include "ip_tnl_internal.h"

#define IP_TNL_UDP_BITS		6
#define IP_TNL_SHARES		64
#define IP_TNL_CPU_WAIT		(10 * HZ)

/*
 * The backlog of one CPU. All members but @enqueued and @delivered are that CPU's softirq's;
 * where softirqs can be preempted, @bh_lock guards them.
 */
struct ip_tnl_backlog {
	local_lock_t		bh_lock;
	struct sk_buff_head	gro;		/* to be passed to GRO */
	struct sk_buff_head	nogro;		/* to skip GRO */
	u32			enqueued;	/* packets, wraps */
	u32			delivered;	/* of those */
	struct napi_struct	napi;

	/*
	 * Packets queued, by device; devices that collide share. Counted when needed, that
	 * is, not before too many are queued, and valid until the next poll.
	 */
	bool			shares_valid;
	u32			shares[IP_TNL_SHARES];

	/*
	 * UDP, by pairs of addresses. @gro_missed: the last pair of which GRO did not take
	 * a packet since both queues were last empty. @gro_skip: pairs that skip GRO until
	 * @gro_expires (jiffies). @gro_taken: for how many more such periods a pair of
	 * which GRO took a packet does not skip it.
	 */
	u64			gro_missed;
	unsigned long		gro_expires;
	u64			gro_skip[1 << IP_TNL_UDP_BITS];
	u8			gro_taken[1 << IP_TNL_UDP_BITS];
};

static struct ip_tnl_backlog __percpu *ip_tnl_backlogs;
static struct net_device *ip_tnl_napi_dev;
static int ip_tnl_cpuhp_state;
static DECLARE_WAIT_QUEUE_HEAD(ip_tnl_flush_wait);

/* Identifies a pair of addresses on a device, never 0. Pairs that collide share a result. */
static u64 ip_tnl_udp_pair(const struct sk_buff *skb, const struct iphdr *iph)
{
	u64 addrs = (u64)(__force u32)iph->saddr << 32 | (__force u32)iph->daddr;

	return (addrs ^ (unsigned long)skb->dev) * GOLDEN_RATIO_64 | 1;
}

static unsigned int ip_tnl_udp_slot(u64 pair)
{
	return pair >> (64 - IP_TNL_UDP_BITS);
}

static bool ip_tnl_udp_skips_gro(struct ip_tnl_backlog *backlog, const struct sk_buff *skb,
				 const struct iphdr *iph)
{
	u64 pair;

	if (READ_ONCE(skb->dev->features) & (NETIF_F_GRO_FRAGLIST | NETIF_F_GRO_UDP_FWD))
		return false;
	pair = ip_tnl_udp_pair(skb, iph);
	return backlog->gro_skip[ip_tnl_udp_slot(pair)] == pair;
}

static bool ip_tnl_skips_gro(struct ip_tnl_backlog *backlog, const struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);

	if (unlikely(!(READ_ONCE(skb->dev->features) & NETIF_F_GRO)))
		return true;
	/* GRO does not merge MPLS, but would reset the transport header. */
	if (skb->protocol != htons(ETH_P_IP))
		return eth_p_mpls(skb->protocol);
	if (iph->protocol == IPPROTO_TCP)
		return false;
	if (iph->protocol == IPPROTO_UDP)
		return ip_tnl_udp_skips_gro(backlog, skb, iph);
	return !rcu_access_pointer(inet_offloads[iph->protocol]);
}

/* The pair that the result of GRO is about, or 0. (GRO never takes a GSO packet of UDP.) */
static u64 ip_tnl_gro_pair(const struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);

	if (skb->protocol != htons(ETH_P_IP) || iph->protocol != IPPROTO_UDP || skb_is_gso(skb))
		return 0;
	return ip_tnl_udp_pair(skb, iph);
}

/*
 * Steps over an IPv4 or IPv6 header as GRO does. Return: the next header, with its protocol
 * in @next, or NULL if GRO does not look behind this one.
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
 * Return true if GRO does not recognise the flow of a packet: fragments, IP options,
 * extension headers, also in a nested tunnel, and GSO packets other than TCP's.
 */
static bool ip_tnl_gro_misses_flow(const struct sk_buff *skb)
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

static void ip_tnl_backlog_drop(struct sk_buff *skb)
{
	dev_core_stats_rx_dropped_inc(skb->dev);
	kfree_skb(skb);
}

static void ip_tnl_gro_receive(struct ip_tnl_backlog *backlog, struct sk_buff *skb)
{
	u64 pair = ip_tnl_gro_pair(skb);
	gro_result_t result;

	/* GRO writes to the headers; a packet socket may hold a clone. */
	if (unlikely(!netif_running(skb->dev)) || skb_unclone(skb, GFP_ATOMIC)) {
		ip_tnl_backlog_drop(skb);
		return;
	}
	if (ip_tnl_gro_misses_flow(skb))
		napi_gro_flush(&backlog->napi, false);
	result = napi_gro_receive(&backlog->napi, skb);
	if (pair && result == GRO_NORMAL)
		backlog->gro_missed = pair;
	else if (pair)
		backlog->gro_taken[ip_tnl_udp_slot(pair)] = 2;
}

static void ip_tnl_gro_forget(struct ip_tnl_backlog *backlog)
{
	int i;

	backlog->gro_expires = jiffies + HZ;
	memset(backlog->gro_skip, 0, sizeof(backlog->gro_skip));
	for (i = 0; i < ARRAY_SIZE(backlog->gro_taken); i++)
		if (backlog->gro_taken[i])
			backlog->gro_taken[i]--;
}

/* GRO holds no packet, unless another poll has begun. */
static void ip_tnl_gro_learn(struct ip_tnl_backlog *backlog)
{
	unsigned int place = ip_tnl_udp_slot(backlog->gro_missed);

	if (!skb_queue_empty(&backlog->gro) || !skb_queue_empty(&backlog->nogro) ||
	    test_bit(NAPI_STATE_SCHED, &backlog->napi.state))
		return;
	if (time_after(jiffies, backlog->gro_expires))
		ip_tnl_gro_forget(backlog);
	if (backlog->gro_missed && !backlog->gro_taken[place])
		backlog->gro_skip[place] = backlog->gro_missed;
	backlog->gro_missed = 0;
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

/* Delivers a queue by its list_head view, which netif_receive_skb_list() takes. */
static void ip_tnl_receive_list(struct sk_buff_head *queue)
{
	struct sk_buff *skb, *next;
	LIST_HEAD(list);

	skb_queue_walk_safe(queue, skb, next) {
		if (likely(netif_running(skb->dev)))
			continue;
		__skb_unlink(skb, queue);
		ip_tnl_backlog_drop(skb);
	}
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

/* After delivery of the first @delivered packets; a later poll may have counted already. */
static void ip_tnl_backlog_delivered(struct ip_tnl_backlog *backlog, u32 delivered)
{
	local_lock_nested_bh(&ip_tnl_backlogs->bh_lock);
	ip_tnl_gro_learn(backlog);
	if ((s32)(delivered - backlog->delivered) > 0)
		/* Pairs with ip_tnl_backlog_is_flushed(). */
		smp_store_release(&backlog->delivered, delivered);
	local_unlock_nested_bh(&ip_tnl_backlogs->bh_lock);
	if (wq_has_sleeper(&ip_tnl_flush_wait))
		wake_up_all(&ip_tnl_flush_wait);
}

static int ip_tnl_backlog_poll(struct napi_struct *napi, int budget)
{
	struct ip_tnl_backlog *backlog = container_of(napi, struct ip_tnl_backlog, napi);
	struct sk_buff_head gro, nogro;
	struct sk_buff *skb;
	unsigned int left;
	u32 delivered;
	int done;

	__skb_queue_head_init(&gro);
	__skb_queue_head_init(&nogro);
	local_lock_nested_bh(&ip_tnl_backlogs->bh_lock);
	done = ip_tnl_move(&backlog->gro, &gro, budget) +
	       ip_tnl_move(&backlog->nogro, &nogro, budget);
	left = skb_queue_len(&backlog->gro) + skb_queue_len(&backlog->nogro);
	delivered = backlog->enqueued - left;
	backlog->shares_valid = false;
	local_unlock_nested_bh(&ip_tnl_backlogs->bh_lock);

	while ((skb = __skb_dequeue(&gro)))
		ip_tnl_gro_receive(backlog, skb);
	ip_tnl_receive_list(&nogro);
	/* More packets must not keep a waiter waiting: with one, go on and count. */
	if (left && !wq_has_sleeper(&ip_tnl_flush_wait)) {
		napi_gro_flush(napi, false);	/* their devices may go before the next poll */
		return budget;
	}
	done = min(done, budget - 1);
	napi_complete_done(napi, done);
	/* From here on another poll may preempt this one, where softirqs can be preempted. */
	ip_tnl_backlog_delivered(backlog, delivered);
	if (left)
		napi_schedule(napi);
	return done;
}

/* Devices of a namespace whose indices are close do not collide. */
static u32 *ip_tnl_backlog_share(struct ip_tnl_backlog *backlog, const struct sk_buff *skb)
{
	u32 hash = skb->dev->ifindex + net_hash_mix(dev_net(skb->dev));

	return &backlog->shares[hash % ARRAY_SIZE(backlog->shares)];
}

static void ip_tnl_backlog_count_shares(struct ip_tnl_backlog *backlog)
{
	const struct sk_buff *skb;

	memset(backlog->shares, 0, sizeof(backlog->shares));
	skb_queue_walk(&backlog->gro, skb)
		(*ip_tnl_backlog_share(backlog, skb))++;
	skb_queue_walk(&backlog->nogro, skb)
		(*ip_tnl_backlog_share(backlog, skb))++;
	backlog->shares_valid = true;
}

/*
 * With more than net.core.netdev_max_backlog packets queued: return true if one more of this
 * device may be, and count it.
 */
static noinline bool ip_tnl_backlog_admit(struct ip_tnl_backlog *backlog,
					  const struct sk_buff *skb, unsigned int queued)
{
	u32 *share = ip_tnl_backlog_share(backlog, skb);

	if (!backlog->shares_valid)
		ip_tnl_backlog_count_shares(backlog);
	if (queued + *share > 2U * net_max_backlog())
		return false;
	(*share)++;
	return true;
}

/**
 * ip_tnl_backlog_enqueue() - deliver a packet that has left its tunnel
 * @skb: network header at skb->data, basic IP header linear, skb->dev the tunnel;
 *	consumed
 *
 * This CPU delivers it after the present softirq handler has returned.
 *
 * Context: softirq or BH off, RCU read side.
 */
void ip_tnl_backlog_enqueue(struct sk_buff *skb)
{
	struct ip_tnl_backlog *backlog;
	unsigned int queued;

	local_lock_nested_bh(&ip_tnl_backlogs->bh_lock);
	backlog = this_cpu_ptr(ip_tnl_backlogs);
	queued = skb_queue_len(&backlog->gro) + skb_queue_len(&backlog->nogro);
	if (unlikely(queued > net_max_backlog()) && !ip_tnl_backlog_admit(backlog, skb, queued)) {
		local_unlock_nested_bh(&ip_tnl_backlogs->bh_lock);
		ip_tnl_backlog_drop(skb);
		return;
	}
	__skb_queue_tail(ip_tnl_skips_gro(backlog, skb) ? &backlog->nogro : &backlog->gro, skb);
	WRITE_ONCE(backlog->enqueued, backlog->enqueued + 1);
	if (!queued)
		napi_schedule(&backlog->napi);
	local_unlock_nested_bh(&ip_tnl_backlogs->bh_lock);
}

static bool ip_tnl_backlog_is_flushed(const struct ip_tnl_backlog *backlog, u32 enqueued)
{
	/* What is counted has been delivered: pairs with ip_tnl_backlog_delivered(). */
	return (s32)(smp_load_acquire(&backlog->delivered) - enqueued) >= 0;
}

/* Waits for at most @timeout jiffies. Return: false if that was not enough. */
static bool ip_tnl_backlog_flush_one(const struct ip_tnl_backlog *backlog, long timeout)
{
	u32 enqueued = READ_ONCE(backlog->enqueued);

	return ip_tnl_backlog_is_flushed(backlog, enqueued) ||
	       wait_event_timeout(ip_tnl_flush_wait,
				  ip_tnl_backlog_is_flushed(backlog, enqueued), timeout);
}

/**
 * ip_tnl_backlog_flush() - wait until all that is queued has been delivered
 *
 * Packets that are enqueued meanwhile are not waited for; the caller makes sure that
 * none of them matters.
 *
 * Context: process.
 */
void ip_tnl_backlog_flush(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		ip_tnl_backlog_flush_one(per_cpu_ptr(ip_tnl_backlogs, cpu), MAX_SCHEDULE_TIMEOUT);
}

/*
 * CPU hotplug, before a CPU starts: what it left behind has been delivered, the poll has
 * ended. Return: 0, or -EBUSY for a CPU that was not taken off as far as another one takes
 * over what it left (cpuN/hotplug/target).
 */
static int ip_tnl_backlog_prepare_cpu(unsigned int cpu)
{
	struct ip_tnl_backlog *backlog = per_cpu_ptr(ip_tnl_backlogs, cpu);

	if (!ip_tnl_backlog_flush_one(backlog, IP_TNL_CPU_WAIT))
		return -EBUSY;
	napi_disable(&backlog->napi);
	napi_enable(&backlog->napi);
	return 0;
}

static void ip_tnl_backlog_free(void)
{
	struct ip_tnl_backlog *backlog;
	int cpu;

	for_each_possible_cpu(cpu) {
		backlog = per_cpu_ptr(ip_tnl_backlogs, cpu);
		napi_disable(&backlog->napi);
		netif_napi_del(&backlog->napi);
	}
	free_percpu(ip_tnl_backlogs);
	free_netdev(ip_tnl_napi_dev);
}

/**
 * ip_tnl_backlog_init() - allocate the backlogs
 *
 * Context: process.
 *
 * Return: 0 or an errno.
 */
int ip_tnl_backlog_init(void)
{
	struct ip_tnl_backlog *backlog;
	int cpu, err;

	ip_tnl_napi_dev = alloc_netdev_dummy(0);
	if (!ip_tnl_napi_dev)
		return -ENOMEM;
	ip_tnl_backlogs = alloc_percpu(struct ip_tnl_backlog);
	if (!ip_tnl_backlogs) {
		free_netdev(ip_tnl_napi_dev);
		return -ENOMEM;
	}
	for_each_possible_cpu(cpu) {
		backlog = per_cpu_ptr(ip_tnl_backlogs, cpu);
		local_lock_init(&backlog->bh_lock);
		__skb_queue_head_init(&backlog->gro);
		__skb_queue_head_init(&backlog->nogro);
		backlog->gro_expires = jiffies;
		set_bit(NAPI_STATE_NO_BUSY_POLL, &backlog->napi.state);
		netif_napi_add(ip_tnl_napi_dev, &backlog->napi, ip_tnl_backlog_poll);
		napi_enable(&backlog->napi);
	}
	err = cpuhp_setup_state_nocalls(CPUHP_BP_PREPARE_DYN, "net/ip_tunnel_core:prepare",
					ip_tnl_backlog_prepare_cpu, NULL);
	if (err < 0) {
		ip_tnl_backlog_free();
		return err;
	}
	ip_tnl_cpuhp_state = err;
	return 0;
}

/**
 * ip_tnl_backlog_exit() - undo ip_tnl_backlog_init()
 *
 * Context: process; there is no tunnel any more.
 */
void ip_tnl_backlog_exit(void)
{
	cpuhp_remove_state_nocalls(ip_tnl_cpuhp_state);
	ip_tnl_backlog_free();
}
