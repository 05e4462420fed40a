/*
 * Three corrections to the ndmjob client of Amanda 3.5 on Debian, loaded with LD_PRELOAD. Without each of them
 * `-o test-tape` fails against every server there is, its own included. Nothing else of the client is touched: every
 * step of its tests, and every verdict, stays its own.
 *
 * 1. A TAPE_WRITE of zero bytes (T-BW step 6) is never sent: the client takes the NULL that GLib's g_malloc(0)
 *    returns for "out of memory". Here g_malloc(0) returns a block.
 *
 * 2. T-BWR compares what it read back, as *signed* char, with 0..255, so bytes of 80h and above never compare equal
 *    where char is signed (x86). The one instruction that loads the byte, MOVSX (0F BE), becomes MOVZX (0F B6). It
 *    lies between ndmca_tt_basic_read and the end of ndmca_tt_basic_write_and_read (the compiler split the latter,
 *    and put the larger part in front), and is recognised by what follows it: the MOVZX of the expected value
 *    (`& 0xff`) and a CMP. Any count of matches but one ends the program with status 99, rather than
 *    running a client that is only half understood. Where char is unsigned there is nothing to correct.
 *
 * 3. T-WRITE, T-READ and T-MTIO make the content of a record afresh to compare it with what was read, by way of a
 *    struct whose four bytes of padding are never set: they hold what was on the stack, which is not the same in the
 *    writing and in the reading step (the first record to show it is record 1 of file 2). Here the same pattern is
 *    made with zeros for padding.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *g_malloc(size_t size)
{
    void *block = malloc(size ? size : 1);

    if (block == NULL)
        abort(); /* as GLib does */
    return block;
}

/*
 * Groups of 16 bytes: tape file number, number of the group (16 bits each), padding, record number (64 bits), in the
 * machine's byte order; the last group is cut to fit.
 */
void ndmca_test_fill_data(char *record, int size, int record_number, int file_number)
{
    struct {
        uint16_t file, group;
        uint32_t padding;
        uint64_t record;
    } group = {(uint16_t)file_number, 0, 0, (uint64_t)record_number};

    for (int at = 0; at < size; at += (int)sizeof group, group.group++)
        memcpy(record + at, &group, size - at < (int)sizeof group ? (size_t)(size - at) : sizeof group);
}

#if CHAR_MIN < 0

static void give_up(const char *why)
{
    fprintf(stderr, "ndmjob_shim: %s: not the build of ndmjob that this shim knows\n", why);
    _exit(99);
}

/* Whether MOVZX and then CMP follow within the next instructions, as in the comparing loop. */
static int compared_with_masked_value(const uint8_t *at)
{
    for (int i = 3; i < 12; i++)
        if (at[i] == 0x0f && at[i + 1] == 0xb6)
            for (int j = i + 2; j < i + 8; j++)
                if (at[j] == 0x39 || at[j] == 0x3b)
                    return 1;
    return 0;
}

__attribute__((constructor)) static void compare_as_unsigned(void)
{
    uint8_t *from = dlsym(RTLD_DEFAULT, "ndmca_tt_basic_read");
    uint8_t *to = dlsym(RTLD_DEFAULT, "ndmca_tt_basic_write_and_read");
    uint8_t *found = NULL;

    if (from == NULL || to == NULL)
        return; /* a helper such as sort(1), started by ndmjob with our environment */
    to += 2048; /* a generous length for its step */
    for (uint8_t *at = from; at < to; at++) {
        if (at[0] != 0x0f || at[1] != 0xbe || !compared_with_masked_value(at))
            continue;
        if (found != NULL)
            give_up("more than one signed compare in T-BWR");
        found = at;
    }
    if (found == NULL)
        give_up("no signed compare in T-BWR");

    uintptr_t page = (uintptr_t)found & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
    size_t span = (uintptr_t)found + 2 - page;

    if (mprotect((void *)page, span, PROT_READ | PROT_WRITE | PROT_EXEC) != 0)
        give_up("its code cannot be made writable");
    found[1] = 0xb6;
    if (mprotect((void *)page, span, PROT_READ | PROT_EXEC) != 0)
        give_up("its code cannot be made read-only again");
}

#endif
