"""The kernels of another processor, under an emulator, in the place of the loaded library.

Whatever a binding passes by address travels through a pipe to a program made of the same sources: blocks of
memory, and structs whose addresses are moved to where the blocks lie there. The blocks come back changed.
"""

import ctypes
import struct
import subprocess

# Reads requests until there are none: what to call, its threads, and sizes of blocks and structs.
SOURCE = """
#include "search.c"
#include "neighbours.c"
#include <stdio.h>
typedef struct { uint64_t address; int64_t size; char *here; } Memory;
static void take(void *to, int64_t size) { if (size && fread(to, size, 1, stdin) != 1) exit(3); }
static void *take_moved(int64_t size, const Memory *memory, int64_t n) {
  uint64_t *words = malloc(size + 8);
  take(words, size);
  for (int64_t w = 0; w < size / 8; w++)
    for (int64_t i = 0; i < n; i++)
      if (words[w] - memory[i].address < (uint64_t)memory[i].size) {
        words[w] = (uint64_t)memory[i].here + (words[w] - memory[i].address);
        break;
      }
  return words;
}
int main(void) {
  const int64_t says[4] = {matrix_units(), max_code(), raise_of_codes(), instructions()};
  fwrite(says, sizeof says, 1, stdout), fflush(stdout);
  for (int64_t head[5]; fread(head, sizeof head, 1, stdin) == 1;) {
    const int64_t n = head[2];
    Memory *memory = malloc((n + 1) * sizeof(Memory));
    char **made = malloc((n + 1) * sizeof(char *));
    for (int64_t i = 0; i < n; i++) {
      take(memory + i, 16);
      made[i] = aligned_alloc(64, up_to(memory[i].size + 64, 64));
      memory[i].here = made[i] + memory[i].address % 64; /* at the same place in a line of the cache */
      take(memory[i].here, memory[i].size);
    }
    void *problem = take_moved(head[3], memory, n), *results = take_moved(head[4], memory, n);
    const int64_t failed = head[0] == 0   ? scan(problem, results, head[1])
                           : head[0] == 1 ? rescore(problem, head[1])
                           : head[0] == 3 ? tables(problem, head[1])
                           : head[0] == 4 ? rank(problem)
                           : head[0] == 5 ? nearest(problem, head[1])
                                          : neighbours(problem, head[1]);
    fwrite(&failed, 8, 1, stdout);
    for (int64_t i = 0; i < n; i++) fwrite(memory[i].here, 1, memory[i].size, stdout), free(made[i]);
    fflush(stdout), free(problem), free(results), free(memory), free(made);
  }
  return 0;
}
"""


class Emulated:
    """What a binding's ``load`` returns, answered by the program that ``command`` starts."""

    def __init__(self, command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.says = struct.unpack("<4q", self._read(32))
        self.sizes = {}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(30)

    def address(self, array):
        """In the place of ``compiler.address``: notes how large what lies there is."""
        if array is None:
            return None
        self.sizes[array.ctypes.data] = array.nbytes
        return array.ctypes.data

    def matrix_units(self):
        return self.says[0]

    def max_code(self):
        return self.says[1]

    def raise_of_codes(self):
        return self.says[2]

    def instructions(self):
        return self.says[3]

    def scan(self, problem, results, threads):
        return self._call(0, threads.value, bytes(problem._obj), bytes(results))

    def rescore(self, problem, threads):
        return self._call(1, threads.value, bytes(problem._obj), b"")

    def tables(self, problem, threads):
        return self._call(3, threads.value, bytes(problem._obj), b"")

    def rank(self, problem):
        return self._call(4, 1, bytes(problem._obj), b"")

    def nearest(self, problem, threads):
        return self._call(5, threads.value, bytes(problem._obj), b"")

    def neighbours(self, problem, threads):
        return self._call(2, threads.value, bytes(problem._obj), b"")

    def _call(self, what, threads, problem, results):
        blocks, self.sizes = list(self.sizes.items()), {}
        sent = [struct.pack("<5q", what, threads, len(blocks), len(problem), len(results))]
        for address, size in blocks:
            sent += [struct.pack("<2q", address, size), ctypes.string_at(address, size)]
        self.process.stdin.write(b"".join([*sent, problem, results]))
        self.process.stdin.flush()
        (failed,) = struct.unpack("<q", self._read(8))
        for address, size in blocks:
            ctypes.memmove(address, self._read(size), size)
        return failed

    def _read(self, size):
        found = self.process.stdout.read(size)
        assert len(found) == size, f"the program ended with {self.process.wait(30)}"
        return found


def put_in_place(library, binding, patch):
    """Let the module ``binding`` use ``library`` while ``patch`` lasts."""
    patch.setattr(binding, "load", lambda: library)
    if isinstance(library, Emulated):
        patch.setattr(binding, "address", library.address)
