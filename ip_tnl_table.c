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
 * Nothing outside this file knows how the table is made.
 */
#include <linux/rhashtable.h>
#include <linux/slab.h>

#include "ip_tnl.h"

static const struct rhashtable_params ip_tnl_table_params = {
	.head_offset	= offsetof(struct ip_tnl_entry, node),
	.key_offset	= offsetof(struct ip_tnl_entry, id),
	.key_len	= sizeof(struct ip_tnl_id),
	.automatic_shrinking = true,
};

int ip_tnl_table_init(struct ip_tnl_net *tn)
{
	return rhltable_init(&tn->table, &ip_tnl_table_params);
}

/* Context: process; the table is empty and has no readers left. */
void ip_tnl_table_destroy(struct ip_tnl_net *tn)
{
	rhltable_destroy(&tn->table);
}

static struct ip_tnl_id ip_tnl_id(const struct ip_tnl_params *p)
{
	bool keyed = p->i_flags & GRE_KEY && !p->unkeyed;
	struct ip_tnl_id id = {
		.remote	= p->remote,
		.local	= ipv4_is_multicast(p->remote) ? 0 : p->local,
		.key	= keyed ? p->i_key : 0,
		.keyed	= keyed,
	};

	if (!id.remote && !id.local)
		id.keyed = 0;
	return id;
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
	struct ip_tnl_entry *e = kzalloc(sizeof(*e), GFP_KERNEL);

	if (!e)
		return NULL;
	if (dst_cache_init(&e->dst_cache, GFP_KERNEL)) {
		kfree(e);
		return NULL;
	}
	e->id = ip_tnl_id(p);
	e->tnl = t;
	e->p = *p;
	e->encap_hlen = max(ip_encap_hlen(&e->p.encap), 0);
	return e;
}

/* Context: any; nobody reads @e any more. */
void ip_tnl_entry_free(struct ip_tnl_entry *e)
{
	dst_cache_destroy(&e->dst_cache);
	kfree(e);
}

static void ip_tnl_entry_free_rcu(struct rcu_head *rcu)
{
	ip_tnl_entry_free(container_of(rcu, struct ip_tnl_entry, rcu));
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
	return rhltable_insert(&tn->table, &e->node, ip_tnl_table_params);
}

/* Takes @e out and frees it after its last reader. Context: RTNL. */
void ip_tnl_table_remove(struct ip_tnl_net *tn, struct ip_tnl_entry *e)
{
	rhltable_remove(&tn->table, &e->node, ip_tnl_table_params);
	call_rcu(&e->rcu, ip_tnl_entry_free_rcu);
}

/**
 * ip_tnl_table_find() - find the tunnel that a configuration would duplicate
 * @tn: tunnels of the kind and namespace
 * @p: configuration; addresses, presence and value of the key, and link count
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
	list = rhltable_lookup(&tn->table, &id, ip_tnl_table_params);
	rhl_for_each_entry_rcu(e, pos, list, node) {
		if (e->p.local == p->local && e->p.link == p->link &&
		    !((e->p.i_flags ^ p->i_flags) & GRE_KEY) &&
		    (!(p->i_flags & GRE_KEY) || e->p.i_key == p->i_key)) {
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

/* The entry of a device that takes what no other does, if it is there and up. */
static struct ip_tnl_entry *ip_tnl_last_resort(struct net_device __rcu * const *where)
{
	struct net_device *dev = rcu_dereference(*where);

	if (!dev || !(READ_ONCE(dev->flags) & IFF_UP))
		return NULL;
	return rcu_dereference(((struct ip_tnl *)netdev_priv(dev))->entry);
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
struct ip_tnl_entry *ip_tnl_lookup(struct ip_tnl_net *tn, int link, __be32 remote,
				   __be32 local, __be32 key, bool keyed)
{
	const struct ip_tnl_id id[] = {
		{ remote,	local,	key,	keyed },
		{ remote,	0,	key,	keyed },
		{ 0,		local,	key,	keyed },
		{ local,	0,	key,	keyed },
		{ 0,		0,	key,	0 },
	};
	struct ip_tnl_entry *e, *candidate = NULL;
	struct rhlist_head *list;
	int i;

	for (i = 0; i < ARRAY_SIZE(id); i++) {
		if (i == 3 && !ipv4_is_multicast(local))
			continue;
		list = rhltable_lookup(&tn->table, &id[i], ip_tnl_table_params);
		e = ip_tnl_pick(list, link, i == 0, &candidate);
		if (e)
			return e;
	}
	return candidate ?: ip_tnl_last_resort(&tn->external) ?: ip_tnl_last_resort(&tn->fallback);
}
EXPORT_SYMBOL_GPL(ip_tnl_lookup);
