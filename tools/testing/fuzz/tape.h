/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A tape is the string of bytes that decides everything about one input. The
 * generator reads its choices off the tape and chooses the first of each list
 * once the tape has ended, so any bytes are a valid input, an input is mutated by
 * mutating its tape, and it gets simpler as the tape gets shorter and its bytes
 * become zero.
 */
#ifndef _IPTNL_FUZZ_TAPE_H
#define _IPTNL_FUZZ_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TAPE_MAX 192

struct tape {
	uint8_t data[TAPE_MAX];
	size_t len, at;
};

/* The tape of the input with that number. */
void tape_random(struct tape *tape, uint64_t seed, uint64_t number);
/* Return: true, or false where the text is no string of hexadecimal bytes. */
bool tape_parse(struct tape *tape, const char *text);
void tape_print(const struct tape *tape);

/* A number below limit, which is at most 65536. */
unsigned int tape_below(struct tape *tape, unsigned int limit);
uint32_t tape_u32(struct tape *tape);
/* True about once in so many times, false at the end of the tape. */
bool tape_one_in(struct tape *tape, unsigned int times);

#define tape_pick(tape, list) ((list)[tape_below(tape, sizeof(list) / sizeof((list)[0]))])

#endif
