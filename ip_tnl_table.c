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
 * A lookup takes a while. It would miss a tunnel whose new entry goes in where it
 * has looked already, in another class or at the head of the same list, and whose
 * old one goes out ahead of it. So a move is counted between its two halves, and a
 * lookup that finds the count changed begins anew.
 *
 * Nothing outside this file knows how the table is made.
 */
#include <linux/bitops.h>
#include <linux/once.h>
#include <linux/random.h>
#include <linux/rhashtable.h>
#include <linux/slab.h>

#include "ip_tnl.h"

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

	return ((upper_32_bits(id->ends) + secret[0] + more) *
		(lower_32_bits(id->ends) + secret[1]) +
		(upper_32_bits(id->key) + secret[2] + more) *
		(lower_32_bits(id->key) + secret[3])) >> 32;
}

static int ip_tnl_id_differs(struct rhashtable_compare_arg *arg, const void *obj)
{
	const struct ip_tnl_id *a = arg->key;
	const struct ip_tnl_id *b = &((const struct ip_tnl_entry *)obj)->id;

	return ((a->ends ^ b->ends) | (a->key ^ b->key)) != 0;
}

static const struct rhashtable_params ip_tnl_table_params = {
	.head_offset	= offsetof(struct ip_tnl_entry, node),
	.key_offset	= offsetof(struct ip_tnl_entry, id),
	.key_len	= sizeof(struct ip_tnl_id),
	.hashfn		= ip_tnl_id_hash,
	.obj_cmpfn	= ip_tnl_id_differs,
	.automatic_shrinking = true,
};

int ip_tnl_table_init(struct ip_tnl_net *tn)
{
	get_random_once(ip_tnl_hash_secret, sizeof(ip_tnl_hash_secret));
	return rhltable_init(&tn->table, &ip_tnl_table_params);
}

/* Context: process; the table is empty and has no readers left. */
void ip_tnl_table_destroy(struct ip_tnl_net *tn)
{
	rhltable_destroy(&tn->table);
}

static u64 ip_tnl_id_ends(__be32 remote, __be32 local)
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
		.ends	= ip_tnl_id_ends(p->remote, local),
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

/* How many sorts of routes a configuration may have: &ip_tnl_entry.routes. */
static unsigned int ip_tnl_route_slots(const struct ip_tnl_params *p)
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
 * Return: an entry that nobody can see yet, or NULL when
 * out of memory; free it with ip_tnl_entry_free().
 */
struct ip_tnl_entry *ip_tnl_entry_alloc(struct ip_tnl *t, const struct ip_tnl_params *p)
{
	struct ip_tnl_entry *e = kzalloc(struct_size(e, routes, ip_tnl_route_slots(p)), GFP_KERNEL);

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

	for (i = 0; i < ip_tnl_route_slots(&e->p); i++)
		ip_tnl_routes_free(e->routes[i]);
	kfree(e);
}

static void ip_tnl_entry_free_rcu(struct rcu_head *rcu)
{
	ip_tnl_entry_free(container_of(rcu, struct ip_tnl_entry, rcu));
}

/* Counts @e, or counts it out with @more of -1, and says what to look for. Context: RTNL. */
static void ip_tnl_table_count(struct ip_tnl_net *tn, const struct ip_tnl_entry *e, int more)
{
	enum ip_tnl_class class = ip_tnl_class(&e->p);
	u32 classes = tn->classes & ~(BIT(class) | BIT(class + IP_TNL_BOUND));

	tn->count[class].all += more;
	if (e->p.link)
		tn->count[class].bound += more;
	if (tn->count[class].all)
		classes |= BIT(class);
	if (tn->count[class].bound)
		classes |= BIT(class + IP_TNL_BOUND);
	WRITE_ONCE(tn->classes, classes);
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
	/* What is removed from now on may have been moved here: see ip_tnl_lookup(). */
	smp_store_release(&tn->moves, tn->moves + 1);
	return 0;
}

/* Takes @e out and frees it after its last reader. Context: RTNL. */
void ip_tnl_table_remove(struct ip_tnl_net *tn, struct ip_tnl_entry *e)
{
	smp_wmb();		/* after the count of moves */
	rhltable_remove(&tn->table, &e->node, ip_tnl_table_params);
	ip_tnl_table_count(tn, e, -1);
	call_rcu(&e->rcu, ip_tnl_entry_free_rcu);
}

/* The entries with an id, or NULL. An id fits two registers. Context: RCU read side. */
static noinline struct rhlist_head *ip_tnl_probe(struct ip_tnl_net *tn, struct ip_tnl_id id)
{
	return rhltable_lookup(&tn->table, &id, ip_tnl_table_params);
}

/**
 * ip_tnl_is_duplicate() - whether two configurations cannot be there together
 * @a: configuration
 * @b: the other; addresses, link, and presence and value of the key that received
 *	packets carry count
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
static struct ip_tnl_entry *ip_tnl_pick(struct rhlist_head *list, int link, bool oldest,
					struct ip_tnl_entry **candidate)
{
	bool fixed = *candidate;
	struct rhlist_head *pos;
	struct ip_tnl_entry *e;

	rhl_for_each_entry_rcu(e, pos, list, node) {
		if (!(READ_ONCE(e->tnl->tunnel.dev->flags) & IFF_UP))
			continue;
		if (e->p.link == link)
			return e;
		if (!fixed)
			*candidate = e;
		fixed |= !oldest;
	}
	return NULL;
}

/* The entry of a list that has no more than that, if its device is up. */
static struct ip_tnl_entry *ip_tnl_only(struct rhlist_head *list)
{
	struct ip_tnl_entry *e = container_of(list, struct ip_tnl_entry, node);

	return list && !rcu_access_pointer(list->next) &&
	       READ_ONCE(e->tnl->tunnel.dev->flags) & IFF_UP ? e : NULL;
}

/* What a class leaves of a packet's id. */
static const struct ip_tnl_id ip_tnl_mask[IP_TNL_CLASSES] = {
	[IP_TNL_EXACT]		= { GENMASK_ULL(63, 0),		GENMASK_ULL(32, 0) },
	[IP_TNL_REMOTE]		= { GENMASK_ULL(63, 32),	GENMASK_ULL(32, 0) },
	[IP_TNL_LOCAL]		= { GENMASK_ULL(31, 0),		GENMASK_ULL(32, 0) },
	[IP_TNL_GROUP]		= { GENMASK_ULL(31, 0),		GENMASK_ULL(32, 0) },
	[IP_TNL_WILDCARD]	= { 0,				GENMASK_ULL(31, 0) },
};

/*
 * One search through the classes that there are. With a candidate at hand, only
 * a tunnel bound to @link is still of interest.
 */
static struct ip_tnl_entry *ip_tnl_search(struct ip_tnl_net *tn, int link,
					  struct ip_tnl_id packet)
{
	const u32 classes = READ_ONCE(tn->classes);
	u32 todo = classes & (BIT(IP_TNL_CLASSES) - 1);
	struct ip_tnl_entry *e, *candidate = NULL;
	enum ip_tnl_class class;
	struct rhlist_head *list;
	struct ip_tnl_id id;

	if (!ipv4_is_multicast((__force __be32)lower_32_bits(packet.ends)))
		todo &= ~BIT(IP_TNL_GROUP);
	while (todo) {
		class = __ffs(todo);
		todo &= todo - 1;
		id.ends = packet.ends & ip_tnl_mask[class].ends;
		id.key = packet.key & ip_tnl_mask[class].key;
		if (class == IP_TNL_GROUP)
			id.ends <<= 32;		/* the tunnel's remote address */
		list = ip_tnl_probe(tn, id);
		if (!list)
			continue;
		e = ip_tnl_pick(list, link, class == IP_TNL_EXACT, &candidate);
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

/* Which tunnel, by all the rules. Apart, so that what most packets need is short. */
static noinline struct ip_tnl_entry *ip_tnl_lookup_all(struct ip_tnl_net *tn, int link,
					      struct ip_tnl_id packet)
{
	struct ip_tnl_entry *e;
	unsigned int moves;

	do {
		/* What was moved before is found: pairs with ip_tnl_table_insert(). */
		moves = smp_load_acquire(&tn->moves);
		e = ip_tnl_search(tn, link, packet);
		smp_rmb();	/* what was not found any more comes after the count of its move */
	} while (unlikely(READ_ONCE(tn->moves) != moves));
	return e ?: ip_tnl_last_resort(&tn->external) ?: ip_tnl_last_resort(&tn->fallback);
}

/**
 * ip_tnl_lookup() - find the tunnel that a received packet belongs to
 * @tn: tunnels of the kind and namespace
 * @link: index of the device that the packet came in by
 * @remote: outer source, network byte order
 * @local: outer destination, network byte order
 * @key: GRE key, network byte order, 0 if there is none
 * @keyed: whether there is a key
 *
 * Devices that are down do not count. A tunnel bound to @link wins over all
 * others, then the most specific one wins; the device in external mode comes
 * next, and the fallback device last.
 *
 * Context: RCU read side; the entry is good until its end.
 *
 * Return: the tunnel's entry or NULL.
 */
__flatten
struct ip_tnl_entry *ip_tnl_lookup(struct ip_tnl_net *tn, int link, __be32 remote,
				   __be32 local, __be32 key, bool keyed)
{
	const struct ip_tnl_id packet = {
		.ends	= ip_tnl_id_ends(remote, local),
		.key	= ip_tnl_id_key(key, keyed),
	};
	const u32 bound = (BIT(IP_TNL_CLASSES) - 1) << IP_TNL_BOUND;
	struct ip_tnl_entry *e;

	/* Where no tunnel is bound to a device, one that all fits is the one, if it is the only one. */
	if ((READ_ONCE(tn->classes) & (bound | BIT(IP_TNL_EXACT))) == BIT(IP_TNL_EXACT)) {
		e = ip_tnl_only(rhltable_lookup(&tn->table, &packet, ip_tnl_table_params));
		if (likely(e))
			return e;
	}
	return ip_tnl_lookup_all(tn, link, packet);
}
EXPORT_SYMBOL_GPL(ip_tnl_lookup);
