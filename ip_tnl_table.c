// SPDX-License-Identifier: GPL-2.0
/*
 * The lookup table: from the addresses and key of a packet to the tunnel.
 *
 * All tunnels of one kind and namespace are in one resizable, seeded hash. A
 * tunnel with a wildcard address is hashed with 0 in its place, so a packet is
 * looked up with at most five different keys, whatever the number of tunnels:
 *
 *	remote	local	key	exact
 *	remote	0	key	any local address
 *	0	local	key	any remote address
 *	group	0	key	sent to the multicast group that a tunnel has as remote
 *	0	0	key	wildcard; whether the key is present does not matter
 *
 * and not at all where there is no tunnel of that class.
 *
 * A change of a tunnel inserts the new entry and then removes the old one. A lookup
 * that runs meanwhile could miss both: it may have passed the place of the new entry
 * (an earlier class, or the head of the same list) before that was inserted, and come
 * to the place of the old one after that was removed. So @genid is incremented between
 * the two, and a lookup during which it changed is repeated.
 */
#include <linux/bitops.h>
#include <linux/random.h>
#include <linux/rhashtable.h>
#include <linux/slab.h>

#include "ip_tnl_internal.h"

/* Secret, so that nobody outside can choose ids that end in one bucket. */
static u64 ip_tnl_hash_secret[4] __read_mostly;

/*
 * Multiplication of pairs with 64 bits of product and random summands: of two
 * different ids, the chance to have the same upper 32 bits is 2^-32 (M. Thorup,
 * "High Speed Hashing for Integers and Strings", 3.5).
 */
static u32 ip_tnl_id_hash(const void *data, u32 len, u32 seed)
{
	const struct ip_tnl_id *id = data;
	const u64 *secret = ip_tnl_hash_secret;
	u64 more = (u64)seed << 32 | seed;

	return ((upper_32_bits(id->addrs) + secret[0] + more) *
		(lower_32_bits(id->addrs) + secret[1]) +
		(upper_32_bits(id->key) + secret[2] + more) *
		(lower_32_bits(id->key) + secret[3])) >> 32;
}

static int ip_tnl_id_differs(struct rhashtable_compare_arg *arg, const void *obj)
{
	const struct ip_tnl_id *a = arg->key;
	const struct ip_tnl_id *b = &((const struct ip_tnl_entry *)obj)->id;

	return ((a->addrs ^ b->addrs) | (a->key ^ b->key)) != 0;
}

static const struct rhashtable_params ip_tnl_table_params = {
	.head_offset	= offsetof(struct ip_tnl_entry, node),
	.key_offset	= offsetof(struct ip_tnl_entry, id),
	.key_len	= sizeof(struct ip_tnl_id),
	.hashfn		= ip_tnl_id_hash,
	.obj_cmpfn	= ip_tnl_id_differs,
	.automatic_shrinking = true,
};

/* Context: module init, before the first ip_tnl_table_init(). */
void ip_tnl_table_seed(void)
{
	get_random_bytes(ip_tnl_hash_secret, sizeof(ip_tnl_hash_secret));
}

int ip_tnl_table_init(struct ip_tnl_net *tn)
{
	return rhltable_init(&tn->table, &ip_tnl_table_params);
}

/* Context: process; the table is empty and has no readers left. */
void ip_tnl_table_destroy(struct ip_tnl_net *tn)
{
	rhltable_destroy(&tn->table);
}

static u64 ip_tnl_id_addrs(__be32 remote, __be32 local)
{
	return (u64)(__force u32)remote << 32 | (__force u32)local;
}

static u64 ip_tnl_id_key(__be32 key, bool keyed)
{
	return (__force u32)key | (keyed ? IP_TNL_KEYED : 0);
}

static bool ip_tnl_is_keyed(const struct ip_tnl_params *p)
{
	return p->i_flags & GRE_KEY && !p->unkeyed;
}

static struct ip_tnl_id ip_tnl_id(const struct ip_tnl_params *p)
{
	bool keyed = ip_tnl_is_keyed(p);
	__be32 local = ipv4_is_multicast(p->remote) ? 0 : p->local;

	return (struct ip_tnl_id) {
		.addrs	= ip_tnl_id_addrs(p->remote, local),
		.key	= ip_tnl_id_key(keyed ? p->i_key : 0, keyed && (p->remote || local)),
	};
}

/* Which of the probes of a lookup finds a tunnel. */
static enum ip_tnl_class ip_tnl_class(const struct ip_tnl_params *p)
{
	if (!p->remote)
		return p->local ? IP_TNL_LOCAL : IP_TNL_WILDCARD;
	if (ipv4_is_multicast(p->remote))
		return IP_TNL_GROUP;
	return p->local ? IP_TNL_EXACT : IP_TNL_REMOTE;
}

/* Number of &ip_tnl_entry.dst_caches: none, one, or one for each DSCP. */
static unsigned int ip_tnl_num_dst_caches(const struct ip_tnl_params *p)
{
	if (!p->remote)
		return 0;
	return p->tos & 1 ? 1 << (8 - IP_TNL_DSCP_SHIFT) : 1;
}

/**
 * ip_tnl_entry_alloc() - make an entry of a configuration
 * @t: the tunnel it is for
 * @p: the configuration, copied
 *
 * Context: process.
 *
 * Return: an unpublished entry, to be freed with ip_tnl_entry_free(), or NULL when
 * out of memory.
 */
struct ip_tnl_entry *ip_tnl_entry_alloc(struct ip_tnl *t, const struct ip_tnl_params *p)
{
	struct ip_tnl_entry *e;

	e = kzalloc(struct_size(e, dst_caches, ip_tnl_num_dst_caches(p)), GFP_KERNEL);
	if (!e)
		return NULL;
	e->id = ip_tnl_id(p);
	e->tnl = t;
	e->p = *p;
	return e;
}

/* Context: any; nobody reads @e any more. */
void ip_tnl_entry_free(struct ip_tnl_entry *e)
{
	unsigned int i;

	for (i = 0; i < ip_tnl_num_dst_caches(&e->p); i++)
		ip_tnl_dst_caches_free(e->dst_caches[i]);
	kfree(e);
}

static void ip_tnl_entry_free_rcu(struct rcu_head *rcu)
{
	ip_tnl_entry_free(container_of(rcu, struct ip_tnl_entry, rcu));
}

/* Updates the counts and class_mask for an entry that comes (@n 1) or goes (-1). Context: RTNL. */
static void ip_tnl_table_count(struct ip_tnl_net *tn, const struct ip_tnl_entry *e, int n)
{
	enum ip_tnl_class class = ip_tnl_class(&e->p);
	u32 classes = tn->class_mask & ~(BIT(class) | BIT(class + IP_TNL_BOUND));

	tn->count[class].all += n;
	if (e->p.link)
		tn->count[class].bound += n;
	if (tn->count[class].all)
		classes |= BIT(class);
	if (tn->count[class].bound)
		classes |= BIT(class + IP_TNL_BOUND);
	WRITE_ONCE(tn->class_mask, classes);
}

/**
 * ip_tnl_table_insert() - let packets find an entry
 * @tn: tunnels of the kind and namespace
 * @e: entry; duplicates were ruled out with ip_tnl_table_find()
 *
 * Context: RTNL.
 *
 * Return: 0, -ENOMEM, -EBUSY or -E2BIG.
 */
int ip_tnl_table_insert(struct ip_tnl_net *tn, struct ip_tnl_entry *e)
{
	int err = rhltable_insert(&tn->table, &e->node, ip_tnl_table_params);

	if (err)
		return err;
	ip_tnl_table_count(tn, e, 1);
	/* Before the removal of the old entry: pairs with ip_tnl_lookup_all(). */
	smp_store_release(&tn->genid, tn->genid + 1);
	return 0;
}

/* Takes @e out and frees it after its last reader. Context: RTNL. */
void ip_tnl_table_remove(struct ip_tnl_net *tn, struct ip_tnl_entry *e)
{
	smp_wmb();		/* after genid: pairs with ip_tnl_lookup_all() */
	rhltable_remove(&tn->table, &e->node, ip_tnl_table_params);
	ip_tnl_table_count(tn, e, -1);
	call_rcu(&e->rcu, ip_tnl_entry_free_rcu);
}

/* The entries with an id, which is passed in registers, or NULL. Context: RCU read side. */
static noinline struct rhlist_head *ip_tnl_probe(struct ip_tnl_net *tn, struct ip_tnl_id id)
{
	return rhltable_lookup(&tn->table, &id, ip_tnl_table_params);
}

/**
 * ip_tnl_is_duplicate() - compare what two configurations must not have in common
 * @a: configuration
 * @b: another
 *
 * Return: true if addresses, link and the input key, or its absence, are the same.
 */
bool ip_tnl_is_duplicate(const struct ip_tnl_params *a, const struct ip_tnl_params *b)
{
	bool keyed = ip_tnl_is_keyed(a);

	return a->remote == b->remote && a->local == b->local && a->link == b->link &&
	       ip_tnl_is_keyed(b) == keyed && (!keyed || a->i_key == b->i_key);
}

/**
 * ip_tnl_table_find() - find the tunnel that a configuration would duplicate
 * @tn: tunnels of the kind and namespace
 * @p: configuration
 *
 * Context: RTNL.
 *
 * Return: its entry or NULL.
 */
struct ip_tnl_entry *ip_tnl_table_find(struct ip_tnl_net *tn, const struct ip_tnl_params *p)
{
	struct ip_tnl_id id = ip_tnl_id(p);
	struct ip_tnl_entry *e, *found = NULL;
	struct rhlist_head *list, *pos;

	rcu_read_lock();
	list = ip_tnl_probe(tn, id);
	rhl_for_each_entry_rcu(e, pos, list, node) {
		if (ip_tnl_is_duplicate(&e->p, p)) {
			found = e;
			break;
		}
	}
	rcu_read_unlock();
	return found;		/* RTNL keeps it */
}

/*
 * Of the tunnels with one id, the one bound to the device that the packet came
 * in by, or NULL; any other that is up becomes the candidate, the oldest of
 * them if @oldest, else the newest. A candidate from an earlier list stays.
 */
static struct ip_tnl_entry *ip_tnl_pick(struct rhlist_head *list, int iif, bool oldest,
					struct ip_tnl_entry **candidate)
{
	bool fixed = *candidate;
	struct rhlist_head *pos;
	struct ip_tnl_entry *e;

	rhl_for_each_entry_rcu(e, pos, list, node) {
		if (!(READ_ONCE(e->tnl->tunnel.dev->flags) & IFF_UP))
			continue;
		if (e->p.link == iif)
			return e;
		if (!fixed)
			*candidate = e;
		fixed |= !oldest;
	}
	return NULL;
}

/* The entry of a list of one, if its device is up, or NULL. */
static struct ip_tnl_entry *ip_tnl_only(struct rhlist_head *list)
{
	struct ip_tnl_entry *e = container_of(list, struct ip_tnl_entry, node);

	return list && !rcu_access_pointer(list->next) &&
	       READ_ONCE(e->tnl->tunnel.dev->flags) & IFF_UP ? e : NULL;
}

/* The bits of a packet's id by which each class is looked up. */
static const struct ip_tnl_id ip_tnl_mask[IP_TNL_CLASSES] = {
	[IP_TNL_EXACT]		= { GENMASK_ULL(63, 0),		GENMASK_ULL(32, 0) },
	[IP_TNL_REMOTE]		= { GENMASK_ULL(63, 32),	GENMASK_ULL(32, 0) },
	[IP_TNL_LOCAL]		= { GENMASK_ULL(31, 0),		GENMASK_ULL(32, 0) },
	[IP_TNL_GROUP]		= { GENMASK_ULL(31, 0),		GENMASK_ULL(32, 0) },
	[IP_TNL_WILDCARD]	= { 0,				GENMASK_ULL(31, 0) },
};

/*
 * One search through the classes that there are. With a candidate at hand, only
 * a tunnel bound to @iif is still of interest.
 */
static struct ip_tnl_entry *ip_tnl_search(struct ip_tnl_net *tn, int iif,
					  struct ip_tnl_id packet)
{
	const u32 classes = READ_ONCE(tn->class_mask);
	u32 todo = classes & (BIT(IP_TNL_CLASSES) - 1);
	struct ip_tnl_entry *e, *candidate = NULL;
	enum ip_tnl_class class;
	struct rhlist_head *list;
	struct ip_tnl_id id;

	if (!ipv4_is_multicast((__force __be32)lower_32_bits(packet.addrs)))
		todo &= ~BIT(IP_TNL_GROUP);
	while (todo) {
		class = __ffs(todo);
		todo &= todo - 1;
		id.addrs = packet.addrs & ip_tnl_mask[class].addrs;
		id.key = packet.key & ip_tnl_mask[class].key;
		if (class == IP_TNL_GROUP)
			id.addrs <<= 32;		/* the tunnel's remote address */
		list = ip_tnl_probe(tn, id);
		if (!list)
			continue;
		e = ip_tnl_pick(list, iif, class == IP_TNL_EXACT, &candidate);
		if (e)
			return e;
		if (candidate)
			todo &= classes >> IP_TNL_BOUND;
	}
	return candidate;
}

/* The entry of a device that takes what no other does, if it is there and up. */
static struct ip_tnl_entry *ip_tnl_last_resort(struct net_device __rcu * const *where)
{
	struct net_device *dev = rcu_dereference(*where);

	if (!dev || !(READ_ONCE(dev->flags) & IFF_UP))
		return NULL;
	return rcu_dereference(((struct ip_tnl *)netdev_priv(dev))->entry);
}

/* The full lookup, out of line so that ip_tnl_lookup() stays short. */
static noinline struct ip_tnl_entry *ip_tnl_lookup_all(struct ip_tnl_net *tn, int iif,
						       struct ip_tnl_id packet)
{
	struct ip_tnl_entry *e;
	unsigned int genid;

	do {
		/* See each entry inserted before genid: pairs with ip_tnl_table_insert(). */
		genid = smp_load_acquire(&tn->genid);
		e = ip_tnl_search(tn, iif, packet);
		smp_rmb();	/* pairs with ip_tnl_table_remove() */
	} while (unlikely(READ_ONCE(tn->genid) != genid));
	return e ?: ip_tnl_last_resort(&tn->collect_md_dev) ?: ip_tnl_last_resort(&tn->fallback);
}

/**
 * ip_tnl_lookup() - find the tunnel that a received packet belongs to
 * @tn: tunnels of the kind and namespace
 * @iif: index of the device that the packet came in by
 * @remote: outer source, network byte order
 * @local: outer destination, network byte order
 * @key: GRE key, network byte order, 0 if there is none
 * @keyed: whether there is a key
 *
 * Devices that are down do not count. A tunnel bound to @iif wins over all
 * others, then the most specific one wins; the device in external mode comes
 * next, and the fallback device last.
 *
 * Context: RCU read side; the entry is good until its end.
 *
 * Return: the tunnel's entry or NULL.
 */
__flatten
struct ip_tnl_entry *ip_tnl_lookup(struct ip_tnl_net *tn, int iif, __be32 remote,
				   __be32 local, __be32 key, bool keyed)
{
	const struct ip_tnl_id packet = {
		.addrs	= ip_tnl_id_addrs(remote, local),
		.key	= ip_tnl_id_key(key, keyed),
	};
	const u32 bound = (BIT(IP_TNL_CLASSES) - 1) << IP_TNL_BOUND;
	struct ip_tnl_entry *e;

	/* With no bound tunnel in any class, the only entry with this id is the answer. */
	if ((READ_ONCE(tn->class_mask) & (bound | BIT(IP_TNL_EXACT))) == BIT(IP_TNL_EXACT)) {
		e = ip_tnl_only(rhltable_lookup(&tn->table, &packet, ip_tnl_table_params));
		if (likely(e))
			return e;
	}
	return ip_tnl_lookup_all(tn, iif, packet);
}
EXPORT_SYMBOL_GPL(ip_tnl_lookup);
