// SPDX-License-Identifier: GPL-2.0
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "packet.h"
#include "record.h"

#define SHOWN_MAX	256

/* struct card_record of ../kernel/card.c */
struct kept {
	uint32_t len;
	uint32_t what;
};

enum { CARD_FRAME, CARD_COMPLAINT, CARD_MARK, CARD_COUNTS };

static FILE *output;
static struct record now;
static uint32_t shown[SHOWN_MAX];
static unsigned int shown_count;
static char *texts;		/* of the frames since the last mark */
static size_t texts_len;
static FILE *texts_file;

void record_open(const char *path)
{
	output = fopen(path, "wb");
	if (!output)
		err(1, "%s", path);
}

void record_show(const char *numbers)
{
	char *end;

	for (; *numbers; numbers = *end ? end + 1 : end) {
		if (shown_count == SHOWN_MAX)
			errx(2, "at most %d numbers can be shown", SHOWN_MAX);
		shown[shown_count++] = strtoul(numbers, &end, 10);
		if (end == numbers || (*end && *end != ','))
			errx(2, "'%s' is no list of numbers", numbers);
	}
}

bool record_is_shown(uint32_t number)
{
	unsigned int i;

	for (i = 0; i < shown_count; i++)
		if (shown[i] == number)
			return true;
	return false;
}

static void keep_text(const uint8_t *data, size_t len, bool is_frame)
{
	size_t i;

	if (!texts_file)
		texts_file = open_memstream(&texts, &texts_len);
	if (!texts_file)
		err(1, "memory");
	if (!is_frame)
		fprintf(texts_file, "%.*s", (int)len, (const char *)data);
	for (i = 0; is_frame && i < len; i++)
		fprintf(texts_file, "%02x", data[i]);
	fputc('\n', texts_file);
}

static void add_frame(const uint8_t *data, size_t len, bool is_frame)
{
	static uint8_t frame[PACKET_MAX + 4096];

	if (len > sizeof(frame))
		errx(1, "a frame of %zu bytes", len);
	memcpy(frame, data, len);
	if (is_frame)
		frame_normalise(frame, len);
	now.sum += frame_hash(frame, len);
	now.frames++;
	if (shown_count)
		keep_text(frame, len, is_frame);
}

static void print_texts(void)
{
	char *line;

	fflush(texts_file);
	for (line = strtok(texts, "\n"); line; line = strtok(NULL, "\n"))
		printf("sent %u %s\n", now.number, line);
}

static void end_record(const uint8_t *mark)
{
	uint64_t value;

	memcpy(&value, mark, sizeof(value));
	now.number = value;
	now.way = value >> 32;
	if (fwrite(&now, sizeof(now), 1, output) != 1)
		err(1, "log");
	if (texts_file) {
		if (record_is_shown(now.number))
			print_texts();
		fclose(texts_file);
		free(texts);
		texts_file = NULL;
	}
	memset(&now, 0, sizeof(now));
}

void record_kept(const uint8_t *kept, size_t len)
{
	const uint8_t *end = kept + len;
	struct kept header;

	for (; kept < end; kept += sizeof(header) + header.len) {
		memcpy(&header, kept, sizeof(header));
		if (header.what == CARD_MARK)
			end_record(kept + sizeof(header));
		else
			add_frame(kept + sizeof(header), header.len, header.what == CARD_FRAME);
	}
}
