// SPDX-License-Identifier: GPL-2.0
/*
 * The functions that tunnel4, gre and ip_gre export, to be called from a test.
 *
 * /proc/ip_tnl_exports takes one struct call by each write, and a read of the
 * same open file returns what came of it, in words. test_exports.py has the
 * calls. It knows nothing of who exports them, and does not include our headers.
 */
#include <linux/if_tunnel.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/rtnetlink.h>
#include <linux/skbuff.h>
#include <net/gre.h>
#include <net/ip_tunnels.h>
#include <net/xfrm.h>

#define MAX_PACKET	4096
#define HANDLERS	4
#define ROOM		256	/* of the words */

enum what {
	PARSE_HEADER, ADD_PROTOCOL, DEL_PROTOCOL, REGISTER, DEREGISTER, FALLBACK,
};

/**
 * struct call - one call, as it is written, in the machine's byte order
 * @what: &enum what
 * @index: of the handler or protocol; HANDLERS or more means NULL
 * @number: version of GRE, or family of a handler
 * @priority: of a handler that is registered
 * @proto: parameter of gre_parse_header(), as a number
 * @nhs: parameter of gre_parse_header()
 * @csum: whether it gets a pointer for a wrong checksum
 * @summed: skb->ip_summed
 * @linear: how many bytes of the packet are linear
 * @data: packet, or name of a device
 */
struct call {
	u8	what;
	u8	index;
	u16	number;
	s32	priority;
	u16	proto;
	s16	nhs;
	u8	csum;
	u8	summed;
	u16	linear;
	u8	data[];
};

struct answer {
	size_t	len;
	char	text[ROOM];
};

static DEFINE_MUTEX(call_mutex);

/* ---- handlers, which leave each packet to others */

static int no_packet(struct sk_buff *skb)
{
	return -ENOENT;
}

static int no_error(struct sk_buff *skb, u32 info)
{
	return -ENOENT;
}

static struct xfrm_tunnel handlers[HANDLERS];

static int drop_packet(struct sk_buff *skb)
{
	kfree_skb(skb);
	return 0;
}

static void drop_error(struct sk_buff *skb, u32 info)
{
}

static struct gre_protocol protocols[HANDLERS] = {
	[0 ... HANDLERS - 1] = { .handler = drop_packet, .err_handler = drop_error },
};

static const struct gre_protocol *protocol_of(const struct call *c)
{
	return c->index < HANDLERS ? &protocols[c->index] : NULL;
}

static int call_register(const struct call *c)
{
	struct xfrm_tunnel *t = &handlers[c->index % HANDLERS];

	/* Of one that is registered the priority must not change. */
	if (!t->handler) {
		t->handler = no_packet;
		t->err_handler = no_error;
	}
	t->priority = c->priority;
	return xfrm4_tunnel_register(t, c->number);
}

/* ---- a packet of our own */

/* The first @linear bytes in one piece, the rest in a page. */
static struct sk_buff *make_packet(const struct call *c, unsigned int len)
{
	unsigned int linear = min_t(unsigned int, c->linear, len);
	struct sk_buff *skb = alloc_skb(NET_SKB_PAD + MAX_PACKET, GFP_KERNEL);
	struct page *page;

	if (!skb)
		return NULL;
	skb_reserve(skb, NET_SKB_PAD);
	skb_put_data(skb, c->data, linear);
	skb_reset_network_header(skb);
	skb->ip_summed = c->summed;
	if (c->summed == CHECKSUM_COMPLETE)
		skb->csum = csum_partial(c->data, len, 0);
	if (linear == len)
		return skb;
	page = alloc_page(GFP_KERNEL);
	if (!page) {
		kfree_skb(skb);
		return NULL;
	}
	memcpy(page_address(page), c->data + linear, len - linear);
	skb_add_rx_frag(skb, 0, page, 0, len - linear, PAGE_SIZE);
	return skb;
}

static int describe(char *text, const struct tnl_ptk_info *tpi)
{
	return scnprintf(text, ROOM, " hdr_len %d proto %04x key %08x seq %08x%s%s%s%s",
			 tpi->hdr_len, ntohs(tpi->proto), ntohl(tpi->key), ntohl(tpi->seq),
			 ip_tnl_flag_test(tpi->flags, CSUM) ? " csum" : "",
			 ip_tnl_flag_test(tpi->flags, KEY) ? " keyed" : "",
			 ip_tnl_flag_test(tpi->flags, SEQ) ? " numbered" : "",
			 ip_tnl_flag_test(tpi->flags, ROUTING) ? " routing" : "");
}

/* What is promised: the rest only where the header was read. */
static int call_parse(const struct call *c, unsigned int len, char *text)
{
	struct sk_buff *skb = make_packet(c, len);
	struct tnl_ptk_info tpi = {};
	bool csum_err = false;
	int ret, n;

	if (!skb)
		return -ENOMEM;
	ret = gre_parse_header(skb, &tpi, c->csum ? &csum_err : NULL, htons(c->proto), c->nhs);
	n = scnprintf(text, ROOM, "%d", ret);
	if (csum_err)
		n += scnprintf(text + n, ROOM - n, " csum_err");
	if (ret >= 0)
		n += describe(text + n, &tpi);
	if (skb->len != len)
		n += scnprintf(text + n, ROOM - n, " len %u", skb->len);
	kfree_skb(skb);
	return n;
}

typedef struct net_device *fallback_create(struct net *net, const char *name, u8 name_assign_type);

/* Not every kernel has it, nor is ip_gre always loaded. */
static int call_fallback(const struct call *c, unsigned int len, char *text)
{
	fallback_create *create = __symbol_get("gretap_fb_dev_create");
	char name[IFNAMSIZ] = "";
	struct net_device *dev;
	int n;

	if (!create)
		return scnprintf(text, ROOM, "not there");
	memcpy(name, c->data, min_t(unsigned int, len, IFNAMSIZ - 1));
	rtnl_lock();
	dev = create(current->nsproxy->net_ns, name, c->number);
	if (IS_ERR_OR_NULL(dev))
		n = scnprintf(text, ROOM, "%ld", PTR_ERR(dev));
	else
		n = scnprintf(text, ROOM, "%s %s mtu %u flags %x assign_type %u", dev->name,
			      dev->rtnl_link_ops->kind, dev->mtu, dev->flags,
			      dev->name_assign_type);
	rtnl_unlock();
	__symbol_put("gretap_fb_dev_create");
	return n;
}

/* Return: length of the words or error. */
static int do_call(const struct call *c, unsigned int len, char *text)
{
	int ret;

	switch (c->what) {
	case PARSE_HEADER:
		return call_parse(c, len, text);
	case ADD_PROTOCOL:
		ret = gre_add_protocol(protocol_of(c), c->number);
		break;
	case DEL_PROTOCOL:
		ret = gre_del_protocol(protocol_of(c), c->number);
		break;
	case REGISTER:
		ret = call_register(c);
		break;
	case DEREGISTER:
		ret = xfrm4_tunnel_deregister(&handlers[c->index % HANDLERS], c->number);
		break;
	case FALLBACK:
		return call_fallback(c, len, text);
	default:
		return -EINVAL;
	}
	return scnprintf(text, ROOM, "%d", ret);
}

/* ---- the file */

static int exports_open(struct inode *inode, struct file *file)
{
	struct answer *answer = kzalloc(sizeof(*answer), GFP_KERNEL);

	file->private_data = answer;
	return answer ? 0 : -ENOMEM;
}

static int exports_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static ssize_t exports_read(struct file *file, char __user *buf, size_t size, loff_t *at)
{
	struct answer *answer = file->private_data;

	return simple_read_from_buffer(buf, size, at, answer->text, answer->len);
}

static ssize_t exports_write(struct file *file, const char __user *buf, size_t size, loff_t *at)
{
	struct answer *answer = file->private_data;
	struct call *c;
	int ret;

	if (size < sizeof(*c) || size > sizeof(*c) + MAX_PACKET)
		return -EINVAL;
	c = memdup_user(buf, size);
	if (IS_ERR(c))
		return PTR_ERR(c);
	mutex_lock(&call_mutex);
	ret = do_call(c, size - sizeof(*c), answer->text);
	mutex_unlock(&call_mutex);
	kfree(c);
	if (ret < 0)
		return ret;
	answer->len = ret;
	*at = 0;
	return size;
}

static const struct proc_ops exports_ops = {
	.proc_open	= exports_open,
	.proc_read	= exports_read,
	.proc_write	= exports_write,
	.proc_release	= exports_release,
};

static int __init ip_tnl_exports_test_init(void)
{
	return proc_create("ip_tnl_exports", 0600, NULL, &exports_ops) ? 0 : -ENOMEM;
}

static void __exit ip_tnl_exports_test_exit(void)
{
	int i;

	remove_proc_entry("ip_tnl_exports", NULL);
	/* What a test that failed has left; each is at one place at most. */
	for (i = 0; i < HANDLERS; i++) {
		if (!handlers[i].handler)
			continue;
		xfrm4_tunnel_deregister(&handlers[i], AF_INET);
		xfrm4_tunnel_deregister(&handlers[i], AF_INET6);
		xfrm4_tunnel_deregister(&handlers[i], AF_MPLS);
	}
	for (i = 0; i < 2 * HANDLERS; i++)
		gre_del_protocol(&protocols[i / 2], i % 2);
}

module_init(ip_tnl_exports_test_init);
module_exit(ip_tnl_exports_test_exit);
MODULE_DESCRIPTION("iptnl: calls what tunnel4, gre and ip_gre export");
MODULE_LICENSE("GPL");
