/* SPDX-License-Identifier: GPL-2.0 */
/* What was sent because of each input, as inject --log writes it down. */
#ifndef _IPTNL_FUZZ_RECORD_H
#define _IPTNL_FUZZ_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One for each mark; see differences.py. A mark is the way << 32 | the number. */
struct record {
	uint64_t sum;		/* of frame_hash() of the frames */
	uint16_t frames;
	uint16_t way;
	uint32_t number;	/* the last input that caused these */
};

void record_open(const char *path);

/* Numbers, with commas between them: of the records whose frames are printed. */
void record_show(const char *numbers);
bool record_is_shown(uint32_t number);

/* Take in what was read from the card; keeps what has no mark yet for the next call. */
void record_kept(const uint8_t *kept, size_t len);

#endif
