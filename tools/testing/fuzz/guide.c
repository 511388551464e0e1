// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "guide.h"

/* <linux/kcov.h>, which not every userland has */
#define KCOV_INIT_TRACE	_IOR('c', 1, unsigned long)
#define KCOV_ENABLE	_IO('c', 100)
#define KCOV_TRACE_PC	0

#define TRACE_MAX	0x10000	/* words */
#define STEPS_BITS	18
#define KEPT_MAX	8192		/* tapes */
#define CHANGES_MAX	8		/* bytes */

static uint64_t *trace;			/* how many, then these addresses */
static uint8_t steps[1 << (STEPS_BITS - 3)];	/* from one address to the next: bits */
static unsigned int steps_count;
static struct tape kept[KEPT_MAX];
static unsigned int kept_count;

void guide_open(void)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR);

	if (fd < 0)
		err(1, "/sys/kernel/debug/kcov");
	if (ioctl(fd, KCOV_INIT_TRACE, TRACE_MAX))
		err(1, "kcov");
	trace = mmap(NULL, TRACE_MAX * sizeof(*trace), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (trace == MAP_FAILED || ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC))
		err(1, "kcov");
}

/* Its last bytes decide; packet.c rarely gets that far. */
static unsigned int decide(struct tape *tape, unsigned int limit)
{
	tape->len -= 2;
	return (tape->data[tape->len] | tape->data[tape->len + 1] << 8) % limit;
}

void guide_choose(struct tape *tape)
{
	struct tape own = *tape;
	unsigned int changes;
	size_t at;

	if (!kept_count || decide(&own, 2))
		return;
	*tape = kept[decide(&own, kept_count)];
	for (changes = 1 + decide(&own, CHANGES_MAX); changes; changes--) {
		at = decide(&own, tape->len);
		tape->data[at] = own.data[at];
	}
}

void guide_begin(void)
{
	__atomic_store_n(&trace[0], 0, __ATOMIC_RELAXED);
}

static bool is_new(uint64_t from, uint64_t to)
{
	uint64_t hash = (from * 31 + to) * 0x9e3779b97f4a7c15 >> (64 - STEPS_BITS);
	uint8_t bit = 1u << (hash & 7);

	if (steps[hash >> 3] & bit)
		return false;
	steps[hash >> 3] |= bit;
	steps_count++;
	return true;
}

void guide_end(const struct tape *tape)
{
	uint64_t count = __atomic_load_n(&trace[0], __ATOMIC_RELAXED), i;
	bool keep = false;

	for (i = 1; i <= count; i++)
		keep |= is_new(i > 1 ? trace[i - 1] : 0, trace[i]);
	if (keep && kept_count < KEPT_MAX)
		kept[kept_count++] = *tape;
}

void guide_report(void)
{
	printf("guided %u steps of the modules' code, %u inputs kept\n", steps_count, kept_count);
}
