// SPDX-License-Identifier: GPL-2.0
/*
 * The lookup table against a naive twin.
 *
 * This module has a copy of ip_tnl_table.c inside and works it by random
 * operations: tunnels are added, changed, deleted, brought up and down, and
 * packets looked up. Each answer is compared with that of the twin in twin.c.
 *
 * Then others look tunnels up that are always there, while this one changes
 * them and adds and deletes those around them.
 *
 * Loading it runs it; the result is KTAP in the kernel log. The same seed and
 * number of operations do the same again, but for the readers' timing and the
 * table's own seed. tools/testing/selftests/test_table_twin.py runs it.
 *
 * What is left out, since no packet is like that: a multicast source, and a
 * tunnel whose local address is a group.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt
#define __DISABLE_EXPORTS	/* the symbols are ip_tunnel_core's */

#include <linux/cpumask.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/random.h>
#include <linux/sched.h>

#include "../../../ip_tnl_route.c"
#include "../../../ip_tnl_table.c"
#include "twin.h"

#define MAX_TUNNELS	2000
#define STEADY		16	/* tunnels that readers always find */
#define MAX_READERS	3
#define NET_REMOTE	0xc6120000	/* 198.18.0.0/15, RFC 2544 */
#define NET_LOCAL	0xc0000200	/* 192.0.2.0/24 */
#define NET_GROUP	0xe9fc0000	/* 233.252.0.0/24 */
#define KEY_STEADY	1000	/* of a steady tunnel, and those after it */

static unsigned long seed;
module_param(seed, ulong, 0444);
MODULE_PARM_DESC(seed, "of the random numbers; 0: one by chance");
static unsigned int operations = 1000000;
module_param(operations, uint, 0444);
MODULE_PARM_DESC(operations, "how many in all");
static char *wrong = "";
module_param(wrong, charp, 0444);
MODULE_PARM_DESC(wrong, "make the twin wrong, which must be found out: link, filter, specific, order, oldest, newest, key, wildcard, down, group, external, duplicate; or gap: remove before insert");

/* Answers that must have come up, after those of enum answer. */
enum {
	BY_GROUP = ANSWERS, BY_LINK, DUPLICATE, NO_DUPLICATE,
	COUNTERS
};

static const char * const counter_names[COUNTERS] = {
	"nobody", "wildcard", "local", "remote", "both", "external", "fallback", "group", "link",
	"duplicate", "no duplicate",
};

struct phase {
	const char	*name;
	unsigned int	percent;	/* of the operations */
	int		tunnels;	/* at most */
	int		remotes, locals, groups, keys, links;
	unsigned int	any;		/* percent of addresses that are a wildcard */
	bool		readers;
	bool		move;		/* a change may be of what a tunnel is found by */
};

static const struct phase phases[] = {
	{ "all rules, some tunnels", 40, 40, 3, 3, 2, 3, 3, 30 },
	{ "all rules, hardly a tunnel", 15, 3, 2, 2, 1, 1, 2, 40 },
	{ "the same ends, many links", 20, 24, 1, 1, 1, 0, 5, 20 },
	{ "wildcards, external and fallback device", 15, 12, 2, 2, 1, 2, 2, 80 },
	{ "the table grows and shrinks", 4, MAX_TUNNELS, 3000, 8, 8, 50, 3, 5 },
	{ "readers find a tunnel while it is changed", 3, 600, 500, 4, 2, 20, 3, 10, true },
	{ "readers find a tunnel while its addresses change", 3, 600, 500, 4, 2, 20, 3, 10,
	  true, true },
};

static struct ip_tnl_net *tn;
static const struct phase *phase;
static struct rnd_state rnd;
static struct tunnel *tunnels;		/* all there can be */
static struct tunnel **spare;		/* those not twin.count */
static int spares;
static struct twin twin;
static bool growing;
static int refused;			/* additions in a row */
static unsigned int operation, removals;
static unsigned long counters[COUNTERS];
static int most;			/* tunnels at a time */
static bool failed;

static u32 roll(u32 n)
{
	return prandom_u32_state(&rnd) % n;
}

static bool percent(unsigned int n)
{
	return roll(100) < n;
}

/* ---- configurations and packets by chance */

static __be32 address(u32 net, u32 n)
{
	return cpu_to_be32(net + n + 1);
}

static __be32 some_remote(void)
{
	return address(NET_REMOTE, roll(phase->remotes));
}

static __be32 some_local(void)
{
	return address(NET_LOCAL, roll(phase->locals));
}

static __be32 some_group(void)
{
	return address(NET_GROUP, roll(phase->groups));
}

static bool some_key(__be32 *key)
{
	u32 n = roll(phase->keys + 2);	/* no key, 0, 1, ... */

	*key = cpu_to_be32(n ? n - 1 : 0);
	return n;
}

static void some_config(struct config *c)
{
	*c = (struct config) {
		.remote	= percent(phase->any) ? 0 : percent(15) ? some_group() : some_remote(),
		.local	= percent(phase->any) ? 0 : some_local(),
		.link	= roll(phase->links + 1),
		.ttl	= roll(256),
	};
	c->keyed = some_key(&c->key);
	c->unkeyed = percent(5);
}

/* One for which there may be no tunnel; the numbers go one beyond the tunnels'. */
static void some_packet(struct packet *p)
{
	*p = (struct packet) {
		.remote	= address(NET_REMOTE, roll(phase->remotes + 1)),
		.local	= percent(15) ? some_group() : address(NET_LOCAL, roll(phase->locals + 1)),
		.link	= 1 + roll(phase->links + 1),
	};
	p->keyed = some_key(&p->key);
}

/* One that @c describes. */
static void packet_of(struct packet *p, const struct config *c)
{
	some_packet(p);
	if (ipv4_is_multicast(c->remote)) {
		p->local = c->remote;
	} else {
		p->remote = c->remote ?: p->remote;
		p->local = c->local ?: p->local;
	}
	p->keyed = c->keyed && !c->unkeyed;
	p->key = p->keyed ? c->key : 0;
	p->link = c->link ?: p->link;
}

/* ---- operations, on both */

static void to_params(struct ip_tnl_params *p, const struct config *c)
{
	*p = (struct ip_tnl_params) {
		.remote	= c->remote,
		.local	= c->local,
		.i_key	= c->key,
		.i_flags = c->keyed ? GRE_KEY : 0,
		.unkeyed = c->unkeyed,
		.link	= c->link,
		.ttl	= c->ttl,
	};
}

/* Without this memory would run out before the grace period that frees it. */
static void count_removal(void)
{
	if (++removals % 4096 == 0)
		rcu_barrier();
}

/* As ip_tnl_publish() does. A changed tunnel is the newest. Return: 0 or an errno. */
static int publish(struct tunnel *t, const struct config *c)
{
	struct ip_tnl_entry *e, *old = t->entry;
	struct ip_tnl_params p;
	int err;

	to_params(&p, c);
	e = ip_tnl_entry_alloc(t->tnl, &p);
	if (!e)
		return -ENOMEM;
	rtnl_lock();
	if (old && twin.wrong == RULE_GAP) {
		ip_tnl_table_remove(tn, old);
		schedule_timeout_uninterruptible(1);
	}
	err = ip_tnl_table_insert(tn, e);
	if (err) {
		rtnl_unlock();
		ip_tnl_entry_free(e);
		return err;
	}
	rcu_assign_pointer(t->tnl->entry, e);
	if (old && twin.wrong != RULE_GAP)
		ip_tnl_table_remove(tn, old);
	rtnl_unlock();
	if (old)
		count_removal();

	ip_tnl_twin_forget(&twin, t);
	t->c = *c;
	t->entry = e;
	ip_tnl_twin_append(&twin, t);
	most = max(most, twin.count);
	return 0;
}

static void set_up(struct tunnel *t, bool up)
{
	struct net_device *dev = t->tnl->tunnel.dev;

	t->up = up;
	WRITE_ONCE(dev->flags, up ? dev->flags | IFF_UP : dev->flags & ~IFF_UP);
}

static void set_external(struct tunnel *t)
{
	twin.external = t;
	rcu_assign_pointer(tn->collect_md_dev, t ? t->tnl->tunnel.dev : NULL);
}

static void set_fallback(struct tunnel *t)
{
	twin.fallback = t;
	rcu_assign_pointer(tn->fallback, t ? t->tnl->tunnel.dev : NULL);
}

/* As ip_tnl_uninit() does. */
static void delete(struct tunnel *t)
{
	rtnl_lock();
	if (twin.fallback == t)
		set_fallback(NULL);
	if (twin.external == t)
		set_external(NULL);
	RCU_INIT_POINTER(t->tnl->entry, NULL);
	ip_tnl_table_remove(tn, t->entry);
	rtnl_unlock();
	ip_tnl_twin_forget(&twin, t);
	t->entry = NULL;
	spare[spares++] = t;
	count_removal();
}

/* Return true if @t may have @c, by the twin; the table must say the same. */
static bool is_free(const struct config *c, const struct tunnel *t)
{
	const struct tunnel *any = ip_tnl_twin_find(&twin, c, NULL);
	const struct ip_tnl_entry *e;
	struct ip_tnl_params p;
	int i;

	to_params(&p, c);
	rtnl_lock();
	e = ip_tnl_table_find(tn, &p);
	rtnl_unlock();
	i = ip_tnl_twin_place(&twin, e);
	counters[any ? DUPLICATE : NO_DUPLICATE]++;
	if (e ? i < 0 || !ip_tnl_twin_is_duplicate(&twin, &twin.order[i]->c, c) : !!any)
		failed = ip_tnl_twin_not_duplicate(&twin, operation, c, any, e);
	return !ip_tnl_twin_find(&twin, c, t);
}

static int add(const struct config *c)
{
	struct tunnel *t = spares ? spare[spares - 1] : NULL;
	bool is_external = false;
	int err;

	if (!t || twin.count == phase->tunnels)
		return 0;
	if (!is_free(c, NULL)) {
		/* The external device is not asked. */
		is_external = !phase->readers && !twin.external && percent(10);
		if (!is_external) {
			refused++;
			return 0;
		}
	}
	refused = 0;
	set_up(t, percent(75));
	err = publish(t, c);
	if (err)
		return err;
	spares--;
	if (is_external)
		set_external(t);
	return 0;
}

static int change(struct tunnel *t, const struct config *c)
{
	return is_free(c, t) ? publish(t, c) : 0;
}

static void lookup(void)
{
	const struct tunnel *want;
	struct ip_tnl_entry *got;
	enum answer how = NOBODY;
	struct packet p, other;

	some_packet(&p);
	if (twin.count && percent(70)) {
		packet_of(&p, &twin.order[roll(twin.count)]->c);
		some_packet(&other);
		switch (roll(8)) {
		case 0:
			p.remote = other.remote;
			break;
		case 1:
			p.local = other.local;
			break;
		case 2:
			p.link = other.link;
			break;
		case 3:
			p.key = other.key;
			p.keyed = other.keyed;
			break;
		}
	}
	want = ip_tnl_twin_lookup(&twin, &p, &how);
	rcu_read_lock();
	got = ip_tnl_lookup(tn, p.link, p.remote, p.local, p.key, p.keyed);
	rcu_read_unlock();
	counters[how]++;
	if (want && how < BY_EXTERNAL) {
		counters[BY_GROUP] += ipv4_is_multicast(want->c.remote);
		counters[BY_LINK] += want->c.link == p.link;
	}
	if (got != (want ? want->entry : NULL))
		failed = ip_tnl_twin_not_found(&twin, operation, &p, want, got);
}

/* One that may not be twin.count, or none; so it is while devices are made. */
static struct tunnel *some_device(void)
{
	if (percent(30))
		return NULL;
	if (twin.count && percent(80))
		return twin.order[roll(twin.count)];
	if (!spares)
		return NULL;
	set_up(spare[spares - 1], percent(75));
	return spare[spares - 1];
}

/* Towards as many as there can be, then towards none, and so on. */
static int add_or_delete(void)
{
	struct config c;

	if (twin.count == phase->tunnels || refused == 16)
		growing = false;
	else if (!twin.count)
		growing = true;
	refused = growing ? refused : 0;
	if (percent(75) == growing) {
		some_config(&c);
		return add(&c);
	}
	if (twin.count)
		delete(twin.order[roll(twin.count)]);
	return 0;
}

static int step(void)
{
	struct tunnel *t = twin.count ? twin.order[roll(twin.count)] : NULL;
	struct config c;

	switch (roll(16)) {
	case 0 ... 3:
		return add_or_delete();
	case 4:
		some_config(&c);
		return t ? change(t, &c) : 0;
	case 5:
		if (!t)
			return 0;
		c = t->c;
		c.ttl++;
		return change(t, &c);
	case 6:
		if (t)
			set_up(t, !t->up && percent(90));
		return 0;
	case 7:
		if (percent(50))
			set_external(some_device());
		else
			set_fallback(some_device());
		return 0;
	default:
		lookup();
		return 0;
	}
}

static int alone(unsigned int count)
{
	int err;

	for (; count && !failed; count--) {
		operation++;
		err = step();
		if (err)
			return err;
		if (count % 64 == 0)
			cond_resched();
	}
	return 0;
}

/* ---- with readers */

static struct {
	struct packet	packet;
	struct ip_tnl	*tnl;
} steady[STEADY];

static unsigned int changes;	/* of steady tunnels, odd while there is one */
static atomic_t reads, overlaps, misses;
static int first_miss;		/* which steady tunnel */
static struct ip_tnl *first_found;

static void read_one(int i)
{
	const struct packet *p = &steady[i].packet;
	unsigned int before = READ_ONCE(changes);
	struct ip_tnl_entry *e;
	struct ip_tnl *found;

	rcu_read_lock();
	e = ip_tnl_lookup(tn, p->link, p->remote, p->local, p->key, p->keyed);
	found = e ? e->tnl : NULL;
	rcu_read_unlock();
	atomic_inc(&reads);
	if (before & 1 || before != READ_ONCE(changes))
		atomic_inc(&overlaps);
	if (found == steady[i].tnl || atomic_inc_return(&misses) > 1)
		return;
	first_miss = i;
	first_found = found;
}

static int reader(void *unused)
{
	int i;

	while (!kthread_should_stop()) {
		for (i = 0; i < STEADY; i++)
			read_one(i);
		cond_resched();
	}
	return 0;
}

/* Takes the packets of steady tunnel @i, whichever of its addresses it names. */
static void steady_config(struct config *c, int i, u32 addresses)
{
	const struct packet *p = &steady[i].packet;

	*c = (struct config) {
		.remote	= addresses & 1 ? p->remote : 0,
		.local	= addresses & 2 ? p->local : 0,
		.key	= p->key,
		.keyed	= true,
		.link	= p->link,
		.ttl	= roll(256),
	};
}

static int add_steady(void)
{
	struct tunnel *t;
	struct config c;
	int i, err;

	for (i = 0; i < STEADY; i++) {
		steady[i].packet = (struct packet) {
			.remote	= address(NET_REMOTE, phase->remotes + i),
			.local	= address(NET_LOCAL, i),
			.key	= cpu_to_be32(KEY_STEADY + i),
			.keyed	= true,
			.link	= 1,
		};
		t = spare[spares - 1];
		steady_config(&c, i, i);
		set_up(t, true);
		err = publish(t, &c);
		if (err)
			return err;
		spares--;
		steady[i].tnl = t->tnl;
	}
	return 0;
}

static struct tunnel *tunnel_of(const struct ip_tnl *tnl)
{
	int i;

	for (i = 0; i < twin.count; i++) {
		if (twin.order[i]->tnl == tnl)
			return twin.order[i];
	}
	return NULL;
}

static int change_steady(void)
{
	int i = roll(STEADY), err;
	struct config c;

	steady_config(&c, i, phase->move ? roll(4) : i);
	WRITE_ONCE(changes, changes + 1);
	smp_mb();	/* a reader that sees some of it sees it begun */
	err = publish(tunnel_of(steady[i].tnl), &c);
	smp_mb();	/* and, if it sees it ended, all of it */
	WRITE_ONCE(changes, changes + 1);
	return err;
}

static bool is_steady(const struct tunnel *t)
{
	return t->c.keyed && t->c.link == 1 && be32_to_cpu(t->c.key) >= KEY_STEADY &&
	       be32_to_cpu(t->c.key) < KEY_STEADY + STEADY;
}

/* Others, half of which differ from a steady one by nothing but the link. */
static int change_others(void)
{
	struct tunnel *t = twin.order[roll(twin.count)];
	struct config c;

	if (percent(10) && !is_steady(t))
		set_up(t, !t->up);
	if (twin.count == phase->tunnels)
		growing = false;
	else if (twin.count == STEADY)
		growing = true;
	if (percent(75) == growing) {
		some_config(&c);
		if (percent(50)) {
			steady_config(&c, roll(STEADY), roll(4));
			c.link = 2 * roll(2);
		}
		return add(&c);
	}
	if (!is_steady(t))
		delete(t);
	return 0;
}

static int write_steadily(unsigned int count)
{
	int err;

	for (; count && !failed && !atomic_read(&misses); count--) {
		operation++;
		err = percent(50) ? change_steady() : change_others();
		if (err)
			return err;
		cond_resched();
	}
	return 0;
}

static void report_readers(int readers)
{
	struct tunnel *found;

	pr_info("# %d readers, %u lookups, %u of them while the tunnel or one like it was changed\n",
		readers, atomic_read(&reads), atomic_read(&overlaps));
	if (!atomic_read(&misses))
		return;
	failed = true;
	found = tunnel_of(first_found);
	pr_info("# operation %u, and %u lookups of a tunnel that was there found another or none\n",
		operation, atomic_read(&misses));
	ip_tnl_twin_show(&twin, "tunnel", tunnel_of(steady[first_miss].tnl)->entry);
	ip_tnl_twin_show(&twin, "found", found ? found->entry : NULL);
}

static int with_readers(unsigned int count)
{
	int i, err, readers = clamp_t(int, num_online_cpus() - 1, 1, MAX_READERS);
	struct task_struct *task[MAX_READERS];

	atomic_set(&reads, 0);
	atomic_set(&overlaps, 0);
	atomic_set(&misses, 0);
	err = add_steady();
	if (err)
		return err;
	for (i = 0; i < readers; i++) {
		task[i] = kthread_run(reader, NULL, "ip_tnl_reader");
		if (IS_ERR(task[i])) {
			err = PTR_ERR(task[i]);
			readers = i;
		}
	}
	if (!err)
		err = write_steadily(count);
	for (i = 0; i < readers; i++)
		kthread_stop(task[i]);
	report_readers(readers);
	return err;
}

/* ---- phases */

static int run_phase(unsigned int n)
{
	unsigned int first = operation;
	int err;

	phase = &phases[n];
	prandom_seed_state(&rnd, seed + n);
	growing = true;
	refused = 0;
	most = 0;
	failed = false;
	ip_tnl_table_seed();
	err = ip_tnl_table_init(tn);
	if (err)
		return err;
	err = (phase->readers ? with_readers : alone)(operations / 100 * phase->percent);
	if (!err)
		pr_info("# %u operations, %d tunnels at most\n", operation - first, most);
	set_external(NULL);
	set_fallback(NULL);
	while (twin.count)
		delete(twin.order[roll(twin.count)]);
	synchronize_rcu();
	ip_tnl_table_destroy(tn);
	return err;
}

static bool result(unsigned int n, const char *name, bool ok)
{
	pr_info("%sok %u %s\n", ok ? "" : "not ", n, name);
	return ok;
}

/* A test that never asked for a rule has not tested it. */
static bool all_came_up(void)
{
	bool all = true;
	int i;

	for (i = 0; i < COUNTERS; i++) {
		pr_info("# %s: %lu\n", counter_names[i], counters[i]);
		all &= !!counters[i];
	}
	return all;
}

static int run_phases(void)
{
	unsigned int n;
	int err;

	pr_info("KTAP version 1\n");
	pr_info("1..%zu\n", ARRAY_SIZE(phases) + 1);
	pr_info("# seed=%lu operations=%u wrong=%s\n", seed, operations, wrong);
	for (n = 0; n < ARRAY_SIZE(phases); n++) {
		err = run_phase(n);
		if (err) {
			pr_info("Bail out! error %d\n", err);
			return err;
		}
		if (!result(n + 1, phases[n].name, !failed) && twin.wrong)
			return 0;
	}
	result(n + 1, "every sort of answer came up", all_came_up());
	return 0;
}

/* ---- the module */

static void no_setup(struct net_device *dev)
{
}

/* Nobody but the table sees these devices, and it looks at whether they are up. */
static int make_tunnel(int number)
{
	struct net_device *dev = alloc_netdev(sizeof(struct ip_tnl), "twin%d", NET_NAME_ENUM,
					      no_setup);
	struct tunnel *t = &tunnels[number];

	if (!dev)
		return -ENOMEM;
	t->tnl = netdev_priv(dev);
	t->tnl->tunnel.dev = dev;
	INIT_LIST_HEAD(&t->tnl->list);
	spare[spares++] = t;
	return 0;
}

static void free_all(void)
{
	int i;

	rcu_barrier();		/* ip_tnl_entry_free_rcu() is ours */
	for (i = 0; tunnels && i < MAX_TUNNELS && tunnels[i].tnl; i++)
		free_netdev(tunnels[i].tnl->tunnel.dev);
	kvfree(tunnels);
	kvfree(twin.order);
	kvfree(spare);
	kfree(tn);
}

static int make_all(void)
{
	/* Few operations do not come to have many tunnels. */
	int total = min_t(unsigned int, MAX_TUNNELS, 64 + operations / 50);
	int i, err = 0;

	tn = kzalloc(sizeof(*tn), GFP_KERNEL);
	tunnels = kvcalloc(MAX_TUNNELS, sizeof(*tunnels), GFP_KERNEL);
	twin.order = kvcalloc(MAX_TUNNELS, sizeof(*twin.order), GFP_KERNEL);
	spare = kvcalloc(MAX_TUNNELS, sizeof(*spare), GFP_KERNEL);
	if (!tn || !tunnels || !twin.order || !spare)
		return -ENOMEM;
	INIT_LIST_HEAD(&tn->tunnels);
	for (i = 0; i < total && !err; i++)
		err = make_tunnel(i);
	return err;
}

static int __init ip_tnl_table_test_init(void)
{
	int err;

	if (!ip_tnl_twin_set_wrong(&twin, wrong)) {
		pr_err("no rule '%s' to get wrong (modinfo -p lists them)\n", wrong);
		return -EINVAL;
	}
	if (operations < 1000) {
		pr_err("operations=%u: 1000 at least\n", operations);
		return -EINVAL;
	}
	seed = seed ?: get_random_u32();
	err = make_all();
	if (!err)
		err = run_phases();
	free_all();
	return err;
}

static void __exit ip_tnl_table_test_exit(void)
{
}

module_init(ip_tnl_table_test_init);
module_exit(ip_tnl_table_test_exit);
MODULE_DESCRIPTION("iptnl: the lookup table against a naive twin");
MODULE_LICENSE("GPL");
