/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The naive twin of the lookup table: the tunnels in an array, oldest first, and
 * the rules as they are written down. It knows nothing of hashes, identities or
 * lists, and does not include ip_tnl.h.
 */
#ifndef _IPTNL_TWIN_H
#define _IPTNL_TWIN_H

#include <linux/types.h>

struct ip_tnl;
struct ip_tnl_entry;

/* Rules that the twin can be told to get wrong; RULE_GAP is for who changes the table. */
enum rule {
	RULE_NONE, RULE_LINK, RULE_FILTER, RULE_SPECIFIC, RULE_ORDER, RULE_OLDEST, RULE_NEWEST,
	RULE_KEY, RULE_WILDCARD, RULE_DOWN, RULE_GROUP, RULE_EXTERNAL, RULE_DUPLICATE, RULE_GAP,
	RULES
};

/* How closely the tunnel that gets a packet describes it: the more the better. */
enum closeness {
	NOT_AT_ALL, ANY_ADDRESS, LOCAL_ONLY, REMOTE_ONLY, BOTH_ADDRESSES,
	CLOSENESSES
};

/* Why a tunnel was found; the first are those of closeness. */
enum answer {
	NOBODY = NOT_AT_ALL, BY_EXTERNAL = CLOSENESSES, BY_FALLBACK,
	ANSWERS
};

/* What a tunnel is configured to; keys and addresses in network byte order. */
struct config {
	__be32	remote;
	__be32	local;
	__be32	key;
	int	link;
	bool	keyed;
	bool	unkeyed;
	u8	ttl;
};

struct packet {
	__be32	remote;
	__be32	local;
	__be32	key;
	int	link;
	bool	keyed;
};

/**
 * struct tunnel - one tunnel
 * @c: its configuration
 * @tnl: the same to the table
 * @entry: what is in the table, NULL if it is not configured
 * @up: its device is up
 */
struct tunnel {
	struct config		c;
	struct ip_tnl		*tnl;
	struct ip_tnl_entry	*entry;
	bool			up;
};

/**
 * struct twin - all tunnels
 * @order: those configured, oldest first; a changed one is the newest
 * @count: how many that are
 * @external: the device in external mode or NULL, configured or not
 * @fallback: the fallback device, likewise
 * @wrong: the rule to get wrong
 */
struct twin {
	struct tunnel	**order;
	int		count;
	struct tunnel	*external;
	struct tunnel	*fallback;
	enum rule	wrong;
};

bool ip_tnl_twin_set_wrong(struct twin *w, const char *name);
struct tunnel *ip_tnl_twin_lookup(const struct twin *w, const struct packet *p, enum answer *how);
struct tunnel *ip_tnl_twin_find(const struct twin *w, const struct config *c,
				const struct tunnel *but);
bool ip_tnl_twin_is_duplicate(const struct twin *w, const struct config *a,
			      const struct config *b);
int ip_tnl_twin_place(const struct twin *w, const struct ip_tnl_entry *e);
void ip_tnl_twin_forget(struct twin *w, const struct tunnel *t);
void ip_tnl_twin_append(struct twin *w, struct tunnel *t);
bool ip_tnl_twin_not_found(const struct twin *w, unsigned int operation, const struct packet *p,
			   const struct tunnel *want, const struct ip_tnl_entry *got);
bool ip_tnl_twin_not_duplicate(const struct twin *w, unsigned int operation,
			       const struct config *c, const struct tunnel *want,
			       const struct ip_tnl_entry *got);
void ip_tnl_twin_show(const struct twin *w, const char *what, const struct ip_tnl_entry *e);

#endif /* _IPTNL_TWIN_H */
