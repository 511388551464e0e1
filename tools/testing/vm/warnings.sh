#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What a compiler says of the modules, without what it says of the kernel's headers, as results in KTAP. Sourced, after
# layer.sh.
# shellcheck disable=SC2034 # those who source it read them

[[ -n ${IPTNL_WARNINGS:-} ]] && return
readonly IPTNL_WARNINGS=1

TEST_DIR=tools/testing/kernel
MODULES=(modules test-module) # targets of make
SPARSE=(C=2 CF=-D__CHECK_ENDIAN__)

number=0 failed=0

# result NAME TEXT : a check passes if TEXT is empty.
result() {
	number=$((number + 1))
	if [[ -z $2 ]]; then
		echo "ok $number $1"
	else
		echo "$2"
		echo "not ok $number $1"
		failed=$((failed + 1))
	fi
}

# Filter compiler messages on stdin: only those about our files. Newer kernels print paths relative to the directory
# that is built.
about_ours() {
	local line file
	while IFS= read -r line; do
		if [[ $line =~ ^([^:\ ]+):([0-9]+:)+\ *(warning|error|fatal\ error): ]]; then
			file=${BASH_REMATCH[1]#/mnt/iptnl/} file=${file#./}
			if [[ $file != /* && (-e $TREE/$file || -e $TREE/$TEST_DIR/$file) ]]; then
				echo "$line"
			fi
		elif [[ $line == *': error: '* || $line == WARNING:* || $line == ERROR:* || $line == check-* ]]; then
			echo "$line"
		fi
	done
}
