// SPDX-License-Identifier: GPL-2.0
/*
 * The naive twin of the lookup table, see twin.h.
 *
 * Everything here is one walk through an array, whatever it costs, and says
 * what the README's and ip_tnl_lookup()'s documentation say.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/in.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/printk.h>
#include <linux/string.h>

#include "twin.h"

static const char * const rule_names[RULES] = {
	"", "link", "filter", "specific", "order", "oldest", "newest",
	"key", "wildcard", "down", "group", "external", "duplicate", "gap",
};

/**
 * ip_tnl_twin_set_wrong() - make a twin that is wrong
 * @w: twin
 * @name: of the rule to get wrong, "" for none
 *
 * Return: true if there is such a rule.
 */
bool ip_tnl_twin_set_wrong(struct twin *w, const char *name)
{
	for (w->wrong = RULE_NONE; w->wrong < RULES; w->wrong++) {
		if (!strcmp(name, rule_names[w->wrong]))
			return true;
	}
	return false;
}

/* Return true if the packets of this tunnel carry its key. */
static bool has_key(const struct config *c)
{
	return c->keyed && !c->unkeyed;
}

static enum closeness closeness(const struct twin *w, const struct config *c,
				const struct packet *p)
{
	if (ipv4_is_multicast(c->remote))
		return c->remote == p->local && w->wrong != RULE_GROUP ? LOCAL_ONLY : NOT_AT_ALL;
	if (c->remote && c->remote != p->remote)
		return NOT_AT_ALL;
	if (c->local && c->local != p->local)
		return NOT_AT_ALL;
	if (c->remote && c->local)
		return BOTH_ADDRESSES;
	if (!c->remote && !c->local)
		return ANY_ADDRESS;
	return !c->local == (w->wrong != RULE_ORDER) ? REMOTE_ONLY : LOCAL_ONLY;
}

/* Key 0 is not the same as no key, but to a tunnel that has no address. */
static bool key_fits(const struct twin *w, const struct config *c, const struct packet *p)
{
	bool keyed = has_key(c);
	bool wildcard = !c->remote && !c->local && w->wrong != RULE_WILDCARD;

	if ((keyed ? c->key : 0) != p->key)
		return false;
	return keyed == p->keyed || wildcard || w->wrong == RULE_KEY;
}

/* Return true if the newer of two that are equally good wins. */
static bool newer_wins(const struct twin *w, enum closeness close, bool bound)
{
	if (close == BOTH_ADDRESSES && !bound)
		return w->wrong == RULE_OLDEST;
	return w->wrong != RULE_NEWEST;
}

static int score(const struct twin *w, enum closeness close, bool bound)
{
	return w->wrong == RULE_SPECIFIC ? close * 2 + bound : bound * CLOSENESSES + close;
}

static struct tunnel *last_resort(const struct twin *w, enum answer *how)
{
	const bool turned = w->wrong == RULE_EXTERNAL;
	struct tunnel *last[] = { w->external, w->fallback };
	int i;

	for (i = 0; i < ARRAY_SIZE(last); i++) {
		struct tunnel *t = last[turned ? !i : i];

		if (t && t->entry && t->up) {
			*how = t == w->external ? BY_EXTERNAL : BY_FALLBACK;
			return t;
		}
	}
	*how = NOBODY;
	return NULL;
}

/**
 * ip_tnl_twin_lookup() - who gets a packet
 * @w: twin
 * @p: packet
 * @how: receives why
 *
 * One bound to the packet's link goes before any other, then the closer before
 * the less close, then the newer before the older; but of those with both
 * addresses and another link, the oldest. When there is none, the external
 * device, then the fallback device. Devices that are down do not count.
 *
 * Return: a tunnel or NULL.
 */
struct tunnel *ip_tnl_twin_lookup(const struct twin *w, const struct packet *p, enum answer *how)
{
	struct tunnel *found = NULL;
	int i, best = 0;

	for (i = 0; i < w->count; i++) {
		struct tunnel *t = w->order[i];
		enum closeness close;
		bool bound;
		int s;

		if (!t->up && w->wrong != RULE_DOWN)
			continue;
		close = closeness(w, &t->c, p);
		if (close == NOT_AT_ALL || !key_fits(w, &t->c, p))
			continue;
		bound = t->c.link == p->link && w->wrong != RULE_LINK;
		if (w->wrong == RULE_FILTER && t->c.link && !bound)
			continue;
		s = score(w, close, bound);
		if (s < best || (s == best && !newer_wins(w, close, bound)))
			continue;
		best = s;
		found = t;
		*how = (enum answer)close;
	}
	return found ?: last_resort(w, how);
}

/* Both addresses, the link, and presence and value of the key are what counts. */
bool ip_tnl_twin_is_duplicate(const struct twin *w, const struct config *a,
			      const struct config *b)
{
	return a->remote == b->remote && a->local == b->local &&
	       (a->link == b->link || w->wrong == RULE_DUPLICATE) &&
	       has_key(a) == has_key(b) && (!has_key(a) || a->key == b->key);
}

/* Some tunnel that @c would duplicate, other than @but. */
struct tunnel *ip_tnl_twin_find(const struct twin *w, const struct config *c,
				const struct tunnel *but)
{
	int i;

	for (i = 0; i < w->count; i++) {
		if (w->order[i] != but && ip_tnl_twin_is_duplicate(w, &w->order[i]->c, c))
			return w->order[i];
	}
	return NULL;
}

/* The place by age of the tunnel whose configuration @e is, or -1. */
int ip_tnl_twin_place(const struct twin *w, const struct ip_tnl_entry *e)
{
	int i;

	for (i = 0; i < w->count; i++) {
		if (w->order[i]->entry == e)
			return i;
	}
	return -1;
}

void ip_tnl_twin_forget(struct twin *w, const struct tunnel *t)
{
	int i, to = 0;

	for (i = 0; i < w->count; i++) {
		if (w->order[i] != t)
			w->order[to++] = w->order[i];
	}
	w->count = to;
}

void ip_tnl_twin_append(struct twin *w, struct tunnel *t)
{
	w->order[w->count++] = t;
}

/* Says in the log which tunnel @e belongs to. */
void ip_tnl_twin_show(const struct twin *w, const char *what, const struct ip_tnl_entry *e)
{
	int i = ip_tnl_twin_place(w, e);
	const struct config *c;

	if (!e) {
		pr_info("# %s: none\n", what);
		return;
	}
	if (i < 0) {
		pr_info("# %s: one that was taken out of the table\n", what);
		return;
	}
	c = &w->order[i]->c;
	pr_info("# %s: remote %pI4 local %pI4 %s %u%s link %d, %s, %d. of %d by age\n", what,
		&c->remote, &c->local, c->keyed ? "key" : "no key", be32_to_cpu(c->key),
		c->unkeyed ? " (unkeyed)" : "", c->link, w->order[i]->up ? "up" : "down", i + 1,
		w->count);
}

/* Says how table and twin differ over a packet. Return: true, that they do. */
bool ip_tnl_twin_not_found(const struct twin *w, unsigned int operation, const struct packet *p,
			   const struct tunnel *want, const struct ip_tnl_entry *got)
{
	pr_info("# operation %u: packet from %pI4 to %pI4 %s %u by link %d\n", operation,
		&p->remote, &p->local, p->keyed ? "key" : "no key", be32_to_cpu(p->key), p->link);
	ip_tnl_twin_show(w, "the twin's", want ? want->entry : NULL);
	ip_tnl_twin_show(w, "the table's", got);
	return true;
}

/* Says how they differ over who has a configuration. Return: true, that they do. */
bool ip_tnl_twin_not_duplicate(const struct twin *w, unsigned int operation,
			       const struct config *c, const struct tunnel *want,
			       const struct ip_tnl_entry *got)
{
	pr_info("# operation %u: duplicates of remote %pI4 local %pI4 %s %u link %d\n", operation,
		&c->remote, &c->local, c->keyed ? "key" : "no key", be32_to_cpu(c->key), c->link);
	ip_tnl_twin_show(w, "the twin's", want ? want->entry : NULL);
	ip_tnl_twin_show(w, "the table's", got);
	return true;
}
