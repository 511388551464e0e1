/* SPDX-License-Identifier: GPL-2.0 */
/* Frames as they are compared, without what two runs of the same modules differ in. */
#ifndef _IPTNL_FUZZ_FRAME_H
#define _IPTNL_FUZZ_FRAME_H

#include <stddef.h>
#include <stdint.h>

/* Normalise an Ethernet frame in place:
 *  - IPv4 headers from this host: identification 0
 *  - identification of IPv6 fragments: 0
 *  - TCP checksums of 0: 0xffff, which is the same
 *  - the time stamp in ERSPAN type III headers: 0
 *  - sequence numbers: 1 if later than the tunnel's last, otherwise 0
 *  - checksums that cover these: what is added up, 0xffff if right
 */
void frame_normalise(uint8_t *frame, size_t len);

/* The sum of the hashes of many frames does not depend on their order. */
uint64_t frame_hash(const uint8_t *frame, size_t len);

#endif
