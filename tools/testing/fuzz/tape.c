// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>

#include "tape.h"

/* splitmix64 */
static uint64_t mix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

void tape_random(struct tape *tape, uint64_t seed, uint64_t number)
{
	uint64_t state = seed, word;
	size_t i;

	state = mix(&state) ^ number;
	for (i = 0; i < TAPE_MAX; i += sizeof(word)) {
		word = mix(&state);
		memcpy(tape->data + i, &word, sizeof(word));
	}
	tape->len = TAPE_MAX;
	tape->at = 0;
}

bool tape_parse(struct tape *tape, const char *text)
{
	unsigned int byte;
	int used;

	tape->len = 0;
	tape->at = 0;
	for (; *text; text += 2) {
		if (tape->len == TAPE_MAX || sscanf(text, "%2x%n", &byte, &used) != 1 || used != 2)
			return false;
		tape->data[tape->len++] = byte;
	}
	return true;
}

void tape_print(const struct tape *tape)
{
	size_t i;

	for (i = 0; i < tape->len; i++)
		printf("%02x", tape->data[i]);
	putchar('\n');
}

static unsigned int tape_byte(struct tape *tape)
{
	return tape->at < tape->len ? tape->data[tape->at++] : 0;
}

unsigned int tape_below(struct tape *tape, unsigned int limit)
{
	unsigned int value = tape_byte(tape);

	if (limit > 256)
		value |= tape_byte(tape) << 8;
	return value % limit;
}

uint32_t tape_u32(struct tape *tape)
{
	uint32_t value = 0;
	int i;

	for (i = 0; i < 4; i++)
		value = value << 8 | tape_byte(tape);
	return value;
}

bool tape_one_in(struct tape *tape, unsigned int times)
{
	return tape_byte(tape) >= 256 - 256 / times;
}
