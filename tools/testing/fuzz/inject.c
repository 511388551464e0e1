// SPDX-License-Identifier: GPL-2.0
/*
 * inject [option...] WAY... : send fuzzed packets by every way into a tunnel.
 *
 *	--seed N	of all inputs (default 1)
 *	--from N	number of the first input
 *	--count N	how many; input N is the same in every run with the same seed and ways
 *	--tape HEX	this input only, or these, one after the other
 *	--show		print the tape of that input, or of input "from", and its packet
 *	--progress FILE	write the number of the input that is next into FILE
 *	--guided	choose inputs by the code they reach (KCOV); one input at a time, and
 *			FILE has the numbers and tapes of the last ones
 *	--careful	one input at a time, and FILE says which
 *	--log FILE	write a struct record for each input; leave out what is in
 *			doc/differences.md
 *	--counts	with what the devices count because of each input
 *	--frames N,...	print what was sent because of these inputs, too
 *
 * A WAY is SORT:DEVICE:LAYER, where LAYER is outer, inner or ethernet and SORT is
 *	receive		as by the driver of that card of ../kernel/card.c
 *	gro		the same through GRO
 *	transmit	handed to the device by the stack, a bridge, tc or BPF
 *	packet		a packet socket of type SOCK_RAW, with a virtio header
 *	datagram	a packet socket of type SOCK_DGRAM
 *	tap, tun	written to a tap or tun device that is made here, with a virtio header
 *
 * What a way refuses is counted, since the kernel checks a virtio header before
 * anybody else sees it. Prints a line of counts for each way at the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "difference.h"
#include "guide.h"
#include "packet.h"
#include "record.h"

#define GSO_UDP_L4	5		/* VIRTIO_NET_HDR_GSO_UDP_L4, since 6.2 */
#define BLOCK		64		/* inputs by the same way, and written in one go */
#define WAYS_MAX	256
#define ORDERS_MAX	(4 << 20)	/* bytes */
#define KEPT_MAX	(8 << 20)
#define PROGRESS	4096		/* inputs */
#define TAPES		64		/* inputs whose tapes are known when a guided run ends */
#define SILENCE		20		/* tenths of a second */
#define GRO_GROUP	4		/* inputs that go through GRO together */
#define PIECE_MAX	4096		/* bytes of a fragment that tap takes */
#define PIECES_MAX	(PACKET_MAX / PIECE_MAX + 6)

enum sort { RECEIVE, GRO, TRANSMIT, PACKET, DATAGRAM, TAP, TUN };

static const char * const sorts[] = {
	"receive", "gro", "transmit", "packet", "datagram", "tap", "tun",
};

static const char * const layers[] = { "outer", "inner", "ethernet" };

static struct way {
	enum sort sort;
	enum packet_layer layer;
	unsigned int ifindex;
	int fd;				/* of its own, or the card's */
	unsigned long accepted, refused;
	char device[IFNAMSIZ];
} ways[WAYS_MAX];
static unsigned int ways_count;

static unsigned long long seed = 1, from, count = 1;
static bool careful, guided, show, logging, counts;
static unsigned long left_out;
static int progress = -1, card = -1;

/* struct card_order of ../kernel/card.c */
struct order {
	uint32_t len;
	uint32_t ifindex;
	uint16_t what;
	uint16_t type;
	uint16_t flags;
	uint16_t gso_size;
	uint16_t gso_segs;
	uint16_t csum_start;
	uint16_t csum_offset;
	uint16_t head;
	uint16_t piece;
	uint16_t protocol;
};

enum { ORDER_RECEIVE, ORDER_GRO, ORDER_TRANSMIT, ORDER_NUMBER, ORDER_TRANSMIT_L3, ORDER_MARK };
enum { TYPE_NONE, TYPE_TCP4, TYPE_TCP6, TYPE_UDP };
enum {
	FLAG_DODGY = 1, FLAG_SUMMED = 2, FLAG_SUM_LEFT = 4, FLAG_CLONED = 16, FLAG_SHARED = 32,
	FLAG_COUNTS = 64,
};

#define CARD_MIN		20	/* bytes */
#define ETHERNET		14	/* bytes of its header */
#define ETHERNET_ADDRESSES { 2, 0, 0, 0, 0xca, 1, 2, 0, 0, 0, 1, 1 }

static uint8_t orders[ORDERS_MAX + PACKET_MAX + 64], kept[KEPT_MAX];
static size_t orders_len;
static struct packet packet;

static void set_ethertype(uint8_t *header)
{
	header[12] = packet.protocol >> 8;
	header[13] = packet.protocol;
}

/* ---- cards */

static void open_card(void)
{
	if (card >= 0)
		return;
	card = open("/dev/ip_tnl_card", O_RDWR);
	if (card < 0)
		err(1, "/dev/ip_tnl_card");
}

static void write_orders(void)
{
	size_t done = 0;
	ssize_t size;

	while (done < orders_len) {
		size = write(card, orders + done, orders_len - done);
		if (size < 0)
			err(1, "/dev/ip_tnl_card");
		done += size;
	}
	if (!orders_len)
		return;
	size = read(card, kept, sizeof(kept));
	if (size < 0 && (logging || errno != EOVERFLOW))
		err(1, "reading /dev/ip_tnl_card");
	if (logging)
		record_kept(kept, size);
	orders_len = 0;
}

/* Until nothing is sent by itself any more, as reports of multicast listeners are. */
static void wait_for_silence(void)
{
	unsigned int quiet = 0;

	while (quiet < SILENCE) {
		usleep(100000);
		if (read(card, kept, sizeof(kept)))
			quiet = 0;
		else
			quiet++;
	}
}

static void add_mark(uint64_t mark)
{
	struct order *o = (struct order *)(orders + orders_len);

	memset(o, 0, sizeof(*o));
	o->what = ORDER_MARK;
	o->flags = counts ? FLAG_COUNTS : 0;
	o->len = sizeof(mark);
	memcpy(o + 1, &mark, sizeof(mark));
	orders_len += sizeof(*o) + sizeof(mark);
}

/* A GSO packet of what the packet ends with, if that can be one. */
static void describe_gso(struct order *o, struct tape *t, struct packet *p, size_t shift)
{
	static const uint16_t sizes[] = { 1448, 536, 1000, 100, 1 };
	size_t header = p->transport_protocol == 6 ? 20 : 8;
	uint16_t size = tape_pick(t, sizes);

	if (!p->transport || p->transport + header >= p->len || (logging && p->mutated))
		return;
	if (logging || !tape_one_in(t, 8))
		packet_leave_checksum(p);
	o->flags |= FLAG_SUM_LEFT;
	o->csum_start = shift + p->transport;
	o->csum_offset = packet_checksum_offset(p);
	if (p->len - p->transport - header <= size || tape_one_in(t, 4))
		return;
	if (logging && difference_gso(size))
		return;
	o->type = p->transport_protocol == 17 ? TYPE_UDP : p->ipv6 ? TYPE_TCP6 : TYPE_TCP4;
	o->gso_size = size;
	o->gso_segs = tape_one_in(t, 2) ? 0 : (p->len - p->transport - header + size - 1) / size;
	o->flags |= FLAG_DODGY;
}

static void add_order(const struct way *way, struct tape *t)
{
	static const uint8_t ethernet[ETHERNET] = ETHERNET_ADDRESSES;
	static const uint16_t pieces[] = { 0, 1, 13, 100, 1000 };
	struct order *o = (struct order *)(orders + orders_len);
	bool whole = tape_one_in(t, 4);
	uint8_t *data = (uint8_t *)(o + 1);

	memset(o, 0, sizeof(*o));
	o->what = way->sort;
	if (way->sort == TRANSMIT && way->layer != LAYER_ETHERNET)
		o->what = ORDER_TRANSMIT_L3;
	o->ifindex = way->ifindex;
	o->protocol = packet.protocol;
	if (way->layer != LAYER_ETHERNET && way->sort != TRANSMIT) {
		memcpy(data, ethernet, sizeof(ethernet));
		set_ethertype(data);
		o->len = ETHERNET;
	}
	if (whole && way->sort != GRO)
		describe_gso(o, t, &packet, o->len);
	memcpy(data + o->len, packet.data, packet.len);
	o->len += packet.len;
	if (tape_one_in(t, 4))
		o->head = 14 + tape_below(t, o->len < 214 ? o->len - 14 : 200);
	else if (o->len > 16000)
		o->head = 200;
	/* skb_partial_csum_set() sees to that for everybody. */
	if (o->head && o->flags & FLAG_SUM_LEFT && o->head < o->csum_start + o->csum_offset + 2)
		o->head = o->csum_start + o->csum_offset + 2;
	/* GSO packets with a frag list come from GRO only, with fragments of one size. */
	if (o->head && o->type == TYPE_NONE)
		o->piece = tape_pick(t, pieces);
	if (way->sort != GRO && tape_one_in(t, 8))
		o->flags |= tape_below(t, 2) ? FLAG_SHARED : FLAG_CLONED;
	if (tape_one_in(t, 8) && !packet.unverified && !packet.mutated)
		o->flags |= o->flags & FLAG_SUM_LEFT ? 0 : FLAG_SUMMED;
	orders_len += (sizeof(*o) + o->len + 3) & ~3ul;
}

/* ---- sockets and tap devices */

static struct virtio_net_hdr any_virtio_header(struct tape *t)
{
	static const uint8_t types[] = {
		VIRTIO_NET_HDR_GSO_NONE, VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6,
		GSO_UDP_L4, VIRTIO_NET_HDR_GSO_UDP,
	};
	struct virtio_net_hdr header = {
		.flags		= tape_below(t, 2),
		.gso_type	= tape_pick(t, types),
		.hdr_len	= tape_below(t, 200),
		.gso_size	= tape_below(t, tape_one_in(t, 4) ? 4 : 2000),
		.csum_start	= tape_below(t, 200),
		.csum_offset	= tape_below(t, 20),
	};

	if (tape_one_in(t, 8))
		header.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	return header;
}

/* For the transport header of the packet, which is behind so many bytes more. */
static struct virtio_net_hdr right_virtio_header(struct tape *t, size_t link)
{
	struct virtio_net_hdr header = {
		.flags		= VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start	= link + packet.transport,
		.csum_offset	= packet_checksum_offset(&packet),
	};

	packet_leave_checksum(&packet);
	if (packet.len <= packet.transport + 300)
		return header;
	if (packet.transport_protocol == 17)
		header.gso_type = GSO_UDP_L4;
	else
		header.gso_type = packet.ipv6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
	header.gso_size = 100 + tape_below(t, logging ? 400 : 1400);
	header.hdr_len = header.csum_start + 20;
	return header;
}

static struct virtio_net_hdr virtio_header(struct tape *t, size_t link)
{
	if (!logging && tape_one_in(t, 4))
		return any_virtio_header(t);
	if (packet.transport && tape_one_in(t, 2) && !packet.mutated)
		return right_virtio_header(t, link);
	return (struct virtio_net_hdr){ .flags = 0 };
}

/* Pieces of a frame, none of them empty. */
static struct iovec pieces[PIECES_MAX];
static int pieces_count;

static void add_pieces(void *data, size_t len)
{
	size_t size;

	for (; len && pieces_count < PIECES_MAX; len -= size, data = (char *)data + size) {
		size = len < PIECE_MAX ? len : PIECE_MAX;
		pieces[pieces_count++] = (struct iovec){ data, size };
	}
}

/* The packet in two parts now and then: tap makes an skb with fragments of the pieces. */
static ssize_t write_frame(const struct way *way, struct tape *t)
{
	uint8_t info[4] = { 0, 0, packet.protocol >> 8, packet.protocol };
	bool bare = way->sort != TUN && way->layer == LAYER_OUTER;
	uint8_t link[ETHERNET] = ETHERNET_ADDRESSES;
	struct virtio_net_hdr header = virtio_header(t, bare ? ETHERNET : 0);
	size_t cut = packet.len;

	set_ethertype(link);
	if (cut && tape_one_in(t, 4))
		cut = tape_below(t, cut < 256 ? cut : 256);
	pieces_count = 0;
	add_pieces(info, way->sort == TUN ? sizeof(info) : 0);
	add_pieces(&header, sizeof(header));
	add_pieces(link, bare ? ETHERNET : 0);
	add_pieces(packet.data, cut);
	add_pieces(packet.data + cut, packet.len - cut);
	return writev(way->fd, pieces, pieces_count);
}

static ssize_t send_datagram(const struct way *way, struct tape *t)
{
	struct sockaddr_ll to = {
		.sll_family	= AF_PACKET,
		.sll_ifindex	= way->ifindex,
		.sll_protocol	= htons(packet.protocol),
		.sll_halen	= tape_one_in(t, 4) ? tape_below(t, 9) : 4,
		.sll_addr	= { 192, 0, 2, 16 + tape_below(t, 96) },
	};

	return sendto(way->fd, packet.data, packet.len, 0, (struct sockaddr *)&to, sizeof(to));
}

static ssize_t send_frame(const struct way *way, struct tape *t)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = way->ifindex };
	struct virtio_net_hdr header = virtio_header(t, 0);
	struct iovec parts[] = { { &header, sizeof(header) }, { packet.data, packet.len } };
	const struct msghdr message = { &to, sizeof(to), parts, 2, NULL, 0, 0 };

	/* Without a protocol iptnl's gre devices look at the packet; see doc/differences.md */
	if (way->layer != LAYER_ETHERNET && (logging || tape_one_in(t, 2)))
		to.sll_protocol = htons(packet.protocol);
	return sendmsg(way->fd, &message, 0);
}

static int open_socket(const struct way *way)
{
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_ifindex = way->ifindex };
	int fd = socket(AF_PACKET, way->sort == PACKET ? SOCK_RAW : SOCK_DGRAM, 0), on = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&to, sizeof(to)) ||
	    (way->sort == PACKET && setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on))))
		err(1, "packet socket of %s", way->device);
	return fd;
}

/* A tap or tun device, and what is written to it is for this host. */
static void set_up(const struct way *way)
{
	static const uint8_t link[ETHERNET] = ETHERNET_ADDRESSES;
	struct ifreq request = { .ifr_flags = 0 };
	int sock = socket(AF_INET, SOCK_DGRAM, 0);

	memcpy(request.ifr_name, way->device, sizeof(request.ifr_name));
	if (way->sort == TAP) {
		request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(request.ifr_hwaddr.sa_data, link, ETH_ALEN);
		if (ioctl(sock, SIOCSIFHWADDR, &request))
			err(1, "the address of %s", way->device);
	}
	if (ioctl(sock, SIOCGIFFLAGS, &request))
		err(1, "%s", way->device);
	request.ifr_flags |= IFF_UP;
	if (ioctl(sock, SIOCSIFFLAGS, &request))
		err(1, "%s does not go up", way->device);
	close(sock);
}

static int open_tun(const struct way *way)
{
	struct ifreq request = {
		.ifr_flags = IFF_VNET_HDR | IFF_TUN,
	};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);

	if (way->sort == TAP)
		request.ifr_flags = IFF_VNET_HDR | IFF_TAP | IFF_NO_PI | IFF_NAPI | IFF_NAPI_FRAGS;
	memcpy(request.ifr_name, way->device, sizeof(request.ifr_name));
	if (fd < 0 || ioctl(fd, TUNSETIFF, &request))
		err(1, "%s", way->device);
	set_up(way);
	return fd;
}

static void drain(const struct way *way)
{
	if (way->sort == TUN || way->sort == TAP)
		while (read(way->fd, kept, sizeof(kept)) > 0)
			;
}

/* ---- ways */

static int find(const char *const list[], int length, const char *text)
{
	while (length--)
		if (!strcmp(list[length], text))
			return length;
	errx(2, "unknown word '%s'", text);
}

static void add_way(char *text)
{
	struct way *way = &ways[ways_count];
	char *sort = strtok(text, ":"), *device = strtok(NULL, ":"), *layer = strtok(NULL, ":");

	if (!layer || strlen(device) >= IFNAMSIZ || ways_count == WAYS_MAX)
		errx(2, "'%s' is no way, or there are too many", text);
	ways_count++;
	memcpy(way->device, device, strlen(device) + 1);
	way->sort = find(sorts, 7, sort);
	way->layer = find(layers, 3, layer);
	if (show)
		return;
	if (way->sort == TAP || way->sort == TUN)
		way->fd = open_tun(way);
	way->ifindex = if_nametoindex(device);
	if (!way->ifindex)
		err(1, "%s", device);
	if (way->sort <= TRANSMIT)
		open_card();
	else if (way->sort <= DATAGRAM)
		way->fd = open_socket(way);
}

static void count_result(struct way *way, bool accepted)
{
	if (accepted)
		way->accepted++;
	else
		way->refused++;
}

static void print_packet(const struct way *way)
{
	size_t i;

	printf("%s:%s:%s protocol %04x, %zu bytes: ", sorts[way->sort], way->device,
	       layers[way->layer], packet.protocol, packet.len);
	for (i = 0; i < packet.len && i < 512; i++)
		printf("%02x", packet.data[i]);
	putchar('\n');
}

static bool is_left_out(const struct way *way)
{
	if (!logging || !difference(&packet, way->layer))
		return false;
	left_out++;
	return true;
}

/* The first byte of a tape says which way the packet takes. */
static void run(struct tape *t)
{
	struct way *way = &ways[tape_below(t, ways_count)];

	packet_make(&packet, t, way->layer);
	if (way->sort <= TRANSMIT && packet.len < CARD_MIN) {
		memset(packet.data + packet.len, 0, CARD_MIN - packet.len);
		packet.len = CARD_MIN;
	}
	if (is_left_out(way))
		return;
	if (way->sort <= TRANSMIT) {
		add_order(way, t);
		way->accepted++;
	} else if (way->sort == PACKET) {
		count_result(way, send_frame(way, t) >= 0);
	} else if (way->sort == DATAGRAM) {
		count_result(way, send_datagram(way, t) >= 0);
	} else {
		count_result(way, write_frame(way, t) >= 0);
	}
}

/* ---- all of it */

static void say_progress(unsigned long long number)
{
	char text[24];
	int len = snprintf(text, sizeof(text), "%-20llu\n", number);

	if (progress >= 0 && pwrite(progress, text, len, 0) != len)
		err(1, "progress");
}

static void make_tape(struct tape *t, unsigned long long number)
{
	struct tape first;

	tape_random(t, seed, number);
	tape_random(&first, seed, number / BLOCK * BLOCK);
	t->data[0] = first.data[0];
}

/* What the packet causes has been sent before the next one is made. */
static void mark(const struct way *way, unsigned long long number)
{
	unsigned long long last = way->sort == GRO ? number | (GRO_GROUP - 1) : number;

	if (record_is_shown(last)) {
		printf("input %llu ", last);
		print_packet(way);
	}
	if (number != last)
		return;
	add_mark((uint64_t)(way - ways) << 32 | number);
	if (way->sort > TRANSMIT)
		write_orders();
}

/* Leaves the tapes of the last inputs, one a line: their bytes depend on all that came before. */
static void say_tape(unsigned long long number, const struct tape *t)
{
	char line[2 * TAPE_MAX + 24];
	int at = sprintf(line, "%llu ", number);
	size_t i;

	for (i = 0; i < t->len; i++)
		at += sprintf(line + at, "%02x", t->data[i]);
	memset(line + at, ' ', sizeof(line) - at);
	line[sizeof(line) - 1] = '\n';
	if (progress >= 0 &&
	    pwrite(progress, line, sizeof(line), number % TAPES * sizeof(line)) < 0)
		err(1, "progress");
}

static void run_guided(struct tape *t, unsigned long long number)
{
	guide_choose(t);
	t->at = 0;
	say_tape(number, t);
	guide_begin();
	run(t);
	write_orders();
	guide_end(t);
	drain(&ways[t->data[0] % ways_count]);
}

static void run_all(void)
{
	unsigned long long number;
	struct tape tape;

	for (number = from; number < from + count; number++) {
		make_tape(&tape, number);
		if (guided) {
			run_guided(&tape, number);
			continue;
		}
		if (careful || number % PROGRESS == 0)
			say_progress(number);
		run(&tape);
		if (logging)
			mark(&ways[tape.data[0] % ways_count], number);
		if (!careful && (number + 1) % BLOCK && orders_len < ORDERS_MAX)
			continue;
		write_orders();
		drain(&ways[tape.data[0] % ways_count]);
	}
	write_orders();
	if (!guided)
		say_progress(number);
}

static unsigned long long number_of(const char *name, const char *text)
{
	char *end;
	unsigned long long value = strtoull(text, &end, 0);

	if (!*text || *end)
		errx(2, "--%s: '%s'", name, text);
	return value;
}

static void report(void)
{
	unsigned int i;

	for (i = 0; i < ways_count; i++)
		printf("way %s:%s:%s %lu %lu\n", sorts[ways[i].sort], ways[i].device,
		       layers[ways[i].layer], ways[i].accepted, ways[i].refused);
	if (logging)
		printf("left-out %lu\n", left_out);
	if (guided)
		guide_report();
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "seed", 1, 0, 's' }, { "from", 1, 0, 'f' }, { "count", 1, 0, 'c' },
		{ "tape", 1, 0, 't' }, { "progress", 1, 0, 'p' }, { "careful", 0, 0, 'C' },
		{ "show", 0, 0, 'S' }, { "log", 1, 0, 'l' }, { "frames", 1, 0, 'F' },
		{ "counts", 0, 0, 'N' }, { "guided", 0, 0, 'G' }, { 0 },
	};
	static struct tape tapes[TAPES];
	unsigned int given = 0, i;
	struct way *way;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seed = number_of("seed", optarg);
			break;
		case 'f':
			from = number_of("from", optarg);
			break;
		case 'c':
			count = number_of("count", optarg);
			break;
		case 't':
			if (given == TAPES || !tape_parse(&tapes[given], optarg))
				errx(2, "--tape needs hexadecimal bytes, at most %d, %d times",
				     TAPE_MAX, TAPES);
			given++;
			break;
		case 'p':
			progress = open(optarg, O_WRONLY | O_CREAT, 0644);
			if (progress < 0)
				err(1, "%s", optarg);
			break;
		case 'C':
			careful = true;
			break;
		case 'l':
			record_open(optarg);
			logging = true;
			break;
		case 'F':
			record_show(optarg);
			break;
		case 'G':
			guide_open();
			guided = true;
			break;
		case 'N':
			counts = true;
			break;
		case 'S':
			show = true;
			break;
		default:
			return 2;
		}
	}
	for (; optind < argc; optind++)
		add_way(argv[optind]);
	if (!ways_count)
		errx(2, "no way given");
	if (logging) {
		open_card();
		wait_for_silence();
	}
	if (show && !given)
		make_tape(&tapes[0], from);
	if (show) {
		tape_print(&tapes[0]);
		way = &ways[tape_below(&tapes[0], ways_count)];
		packet_make(&packet, &tapes[0], way->layer);
		print_packet(way);
	} else if (given) {
		for (i = 0; i < given; i++) {
			run(&tapes[i]);
			write_orders();
		}
	} else {
		run_all();
		report();
	}
	return 0;
}
