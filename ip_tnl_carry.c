// SPDX-License-Identifier: GPL-2.0
/*
 * iptnl: what of a tunnel only its driver knows, carried to the driver that
 * replaces it. For "iptnl swap", through /proc/driver/iptnl, always of the
 * network namespace that the reader or writer is in:
 *
 *	write	record			forget what is kept; keep the sequence
 *					numbers of each tunnel that goes from now on
 *		forget			forget what is kept, and keep no more
 *		seq INDEX IN OUT	tunnel INDEX goes on with these numbers
 *		index NAME INDEX	the fallback device NAME gets this interface
 *					index when it is made, if that is free
 *	read	seq INDEX IN OUT	each tunnel that has gone
 *
 * One line a write. This module is loaded before the kernel's own ip_gre goes,
 * and after it has come: so the tunnels may be of either. Both have struct
 * ip_tunnel first in their private area.
 */
#include <linux/list.h>
#include <linux/netdevice.h>
#include <linux/nsproxy.h>
#include <linux/proc_fs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "ip_tnl_internal.h"

#define IP_TNL_CARRY_FILE	"driver/iptnl"
#define IP_TNL_CARRY_LINE	80

/**
 * struct ip_tnl_kept - a line to be read, or a wish to be granted
 * @list: in @ip_tnl_kept
 * @net: which namespace, by the cookie that no other will have
 * @index: interface index
 * @in: next sequence number expected
 * @out: next sequence number to be sent
 * @name: of a fallback device that is to have @index; empty for a tunnel that has gone
 */
struct ip_tnl_kept {
	struct list_head list;
	u64	net;
	int	index;
	u32	in;
	u32	out;
	char	name[IFNAMSIZ];
};

/* Both under RTNL. */
static LIST_HEAD(ip_tnl_kept);
static bool ip_tnl_recording;

static int ip_tnl_carry_keep(const struct ip_tnl_kept *what)
{
	struct ip_tnl_kept *kept = kmemdup(what, sizeof(*what), GFP_KERNEL);

	if (!kept)
		return -ENOMEM;
	list_add_tail(&kept->list, &ip_tnl_kept);
	return 0;
}

static void ip_tnl_carry_forget(void)
{
	struct ip_tnl_kept *kept, *next;

	list_for_each_entry_safe(kept, next, &ip_tnl_kept, list)
		kfree(kept);
	INIT_LIST_HEAD(&ip_tnl_kept);
	ip_tnl_recording = false;
}

/* Return true if a device is a GRE tunnel, by whichever of the two drivers. */
static bool ip_tnl_has_seqno(const struct net_device *dev)
{
	const struct rtnl_link_ops *ops = dev->rtnl_link_ops;

	return ops && (!strcmp(ops->kind, "gre") || !strcmp(ops->kind, "gretap") ||
		       !strcmp(ops->kind, "erspan"));
}

/* The device is down and unlisted by now: it neither sends nor receives any more. */
static int ip_tnl_carry_event(struct notifier_block *nb, unsigned long event, void *info)
{
	struct net_device *dev = netdev_notifier_info_to_dev(info);
	struct ip_tunnel *t = netdev_priv(dev);
	struct ip_tnl_kept kept = {};

	/*
	 * A device that moves to another namespace is unregistered for those who stay only, and
	 * is still registered; one that is being waited for is unregistered again.
	 */
	if (event != NETDEV_UNREGISTER || dev->reg_state != NETREG_UNREGISTERING ||
	    !ip_tnl_recording || !ip_tnl_has_seqno(dev))
		return NOTIFY_DONE;
	kept.net = dev_net(dev)->net_cookie;
	kept.index = dev->ifindex;
	kept.in = t->i_seqno;
	kept.out = atomic_read(&t->o_seqno);
	if ((kept.in || kept.out) && ip_tnl_carry_keep(&kept))
		netdev_warn(dev, "no memory to keep the sequence numbers %u (receive) and %u (transmit)\n",
			    kept.in, kept.out);
	return NOTIFY_DONE;
}

static struct notifier_block ip_tnl_carry_notifier = {
	.notifier_call = ip_tnl_carry_event,
};

/**
 * ip_tnl_wanted_index() - which interface index a fallback device is to have
 * @net: namespace that it is made in
 * @name: its name
 *
 * A wish is granted once.
 *
 * Context: RTNL.
 *
 * Return: the index; 0 if nobody asked for one, or if it is taken.
 */
int ip_tnl_wanted_index(struct net *net, const char *name)
{
	struct ip_tnl_kept *kept;
	int index = 0;

	list_for_each_entry(kept, &ip_tnl_kept, list) {
		if (kept->net != net->net_cookie || strcmp(kept->name, name))
			continue;
		if (!__dev_get_by_index(net, kept->index))
			index = kept->index;
		list_del(&kept->list);
		kfree(kept);
		break;
	}
	return index;
}

static int ip_tnl_carry_seq(struct net *net, int index, u32 in, u32 out)
{
	struct net_device *dev = __dev_get_by_index(net, index);
	struct ip_tunnel *t;

	if (!dev || !ip_tnl_has_seqno(dev))
		return -ENODEV;
	t = netdev_priv(dev);
	WRITE_ONCE(t->i_seqno, in);
	atomic_set(&t->o_seqno, out);
	return 0;
}

static int ip_tnl_carry_line(struct net *net, const char *line)
{
	struct ip_tnl_kept kept = { .net = net->net_cookie };

	if (!strcmp(line, "record") || !strcmp(line, "forget")) {
		ip_tnl_carry_forget();
		ip_tnl_recording = *line == 'r';
		return 0;
	}
	if (sscanf(line, "seq %d %u %u", &kept.index, &kept.in, &kept.out) == 3)
		return ip_tnl_carry_seq(net, kept.index, kept.in, kept.out);
	if (sscanf(line, "index %15s %d", kept.name, &kept.index) == 2 && kept.index > 0)
		return ip_tnl_carry_keep(&kept);
	return -EINVAL;
}

static ssize_t ip_tnl_carry_write(struct file *file, const char __user *from, size_t size,
				  loff_t *at)
{
	char line[IP_TNL_CARRY_LINE];
	int err;

	if (size >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, from, size))
		return -EFAULT;
	line[size] = '\0';
	rtnl_lock();
	err = ip_tnl_carry_line(current->nsproxy->net_ns, strim(line));
	rtnl_unlock();
	return err ?: size;
}

static int ip_tnl_carry_show(struct seq_file *seq, void *v)
{
	u64 net = current->nsproxy->net_ns->net_cookie;
	struct ip_tnl_kept *kept;

	rtnl_lock();
	list_for_each_entry(kept, &ip_tnl_kept, list)
		if (kept->net == net && !*kept->name)
			seq_printf(seq, "seq %d %u %u\n", kept->index, kept->in, kept->out);
	rtnl_unlock();
	return 0;
}

static int ip_tnl_carry_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_MODULE))
		return -EPERM;
	return single_open(file, ip_tnl_carry_show, NULL);
}

static const struct proc_ops ip_tnl_carry_ops = {
	.proc_open	= ip_tnl_carry_open,
	.proc_read	= seq_read,
	.proc_write	= ip_tnl_carry_write,
	.proc_lseek	= seq_lseek,
	.proc_release	= single_release,
};

/**
 * ip_tnl_carry_init() - begin to serve /proc/driver/iptnl
 *
 * Context: process.
 *
 * Return: 0 or a negative errno.
 */
int ip_tnl_carry_init(void)
{
	int err = register_netdevice_notifier(&ip_tnl_carry_notifier);

	if (err)
		return err;
	if (!proc_create(IP_TNL_CARRY_FILE, 0600, NULL, &ip_tnl_carry_ops)) {
		unregister_netdevice_notifier(&ip_tnl_carry_notifier);
		return -ENOMEM;
	}
	return 0;
}

/**
 * ip_tnl_carry_exit() - serve it no more
 *
 * Context: process.
 */
void ip_tnl_carry_exit(void)
{
	remove_proc_entry(IP_TNL_CARRY_FILE, NULL);
	unregister_netdevice_notifier(&ip_tnl_carry_notifier);
	rtnl_lock();
	ip_tnl_carry_forget();
	rtnl_unlock();
}
