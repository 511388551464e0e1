/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Inputs are chosen by the code that they reach, in a kernel whose modules are
 * built with KCOV: a tape that reaches something new is kept, and every second
 * input is a kept tape with some bytes changed.
 *
 * KCOV sees what the system call of this task does: all of transmission, and
 * reception up to where a NAPI takes over.
 */
#ifndef _IPTNL_FUZZ_GUIDE_H
#define _IPTNL_FUZZ_GUIDE_H

#include "tape.h"

/* Ends the program if there is no KCOV. */
void guide_open(void);

/* Make of the input's own tape the one to be sent; the same for the same past. */
void guide_choose(struct tape *tape);

/* Around the sending of an input. */
void guide_begin(void);
void guide_end(const struct tape *tape);

void guide_report(void);

#endif
