// Runs a loop program over a whole sequence. As in forward.h and backward.h, a thread runs a share of the rows through the steps without
// waiting for the others. If the program has sums, the threads synchronise after each chunk of steps and add the sums, divided among them by
// rows of the targets.
//
// For each chunk of steps, the list `before` runs over all rows of the chunk, `body` step by step, `after` over all rows. A list runs over
// one block of rows at a time, instruction by instruction: a product over the whole block, the instructions between two products over as
// few rows as fit the L1 cache.
#pragma once

#include "cell.h"
#include "layout.h"
#include "packed_weights.h"
#include "reduction.h"
#include "sums.h"

namespace tgr::TGR_ISA {

constexpr ptrdiff_t kSegmentBytes = 64 << 10;  // slots of the rows that the instructions between two products process together
constexpr ptrdiff_t kSumBytes = 8 << 20;       // temporaries of a chunk, if the program has sums
constexpr ptrdiff_t kProductRows = 192;        // rows of one product
constexpr ptrdiff_t kOuterSteps = 64;          // steps whose outer products are computed as one product

template <class T> ptrdiff_t padded(ptrdiff_t n) { return (n + kWidth<T> - 1) / kWidth<T> * kWidth<T>; }

template <class T> class Loop {
  static constexpr ptrdiff_t W = kWidth<T>, kPanel = kTileVectors * kWidth<T>;

  // An instruction and what is constant during a run: its function, and for each operand the index of its view. Operand 0 is the output.
  struct Bound {
    Run<T> run;      // elementwise
    int view[4];     // of a slot, or of a weight or number, which is the same for all rows
    ptrdiff_t offset[4];
    int scalars;     // bit k: input k is one vector for all elements
    int spread;      // bit k: input k is one element of the row, to be broadcast to a vector
    ptrdiff_t n;     // contiguous elements of a row, with padding where it may be written; 0: not contiguous
  };
  struct BoundList {
    const List* list;
    Bound* bound;
    ptrdiff_t block;  // rows that the list processes together
  };
  // The addresses of all rows of a slot: evenly spaced in memory of this thread (`step` is 0 if every block uses the same memory), or one
  // pointer for each row of the chunk or, with `by_step`, of the step.
  struct SlotRows {
    T* base;
    ptrdiff_t stride, step;
    T** rows;
    bool by_step;
  };
  // The working memory of one thread; of one share if there are sums, since its rows must remain until they are summed. The rows of a chunk
  // are numbered m = 0, 1, ..., step after step; i counts the rows of one step.
  struct alignas(64) Worker {
    View<T>* views;  // of each slot, for the current block; then of weights and numbers
    SlotRows* slot_rows;  // by slot
    T*** now;     // [state][i]: the current state of a row
    T** carry;    // [state]: a copy that outlives the memory of the chunk
    const T** left;
    T **to, **to_tail;
    T *tail, *buffers, *spread;
    const T** outer_left;
    bool panels_reversed;
    T *outer_lefts, *outer_rights;
  };

 public:
  Loop(const Program& p, const LoopCall<T>& call, Workspace& memory, const Crew& crew, const PackedWeights<T>* ready)
      : p_(p), call_(call), schedule_(call.schedule), packed_(ready != nullptr) {
    weights_ = ready ? *ready : allocate_packed(p, call.weights, memory, call.B, call.T_);
    allocate_memory(memory, crew);
    if (p_.sums.count) sums_ = RowSums<T>(p_, call_, memory, crew.size, chunk_);
    bind(memory);
    const ptrdiff_t workers = p_.sums.count ? shares_ : crew.size;
    workers_ = memory.array<Worker>(workers);
    for (ptrdiff_t k = 0; k < workers; ++k) allocate_worker(workers_[k], memory);
  }

  void run(Crew& crew) {
    const ptrdiff_t parts = packed_ ? 0 : crew.size * kPackParts;
    crew.each(parts, [&](ptrdiff_t part, int) { pack(p_, call_.weights, weights_, part, parts); });
    if (p_.sums.count) return run_with_sums(crew);
    crew.each(shares_, [&](ptrdiff_t k, int thread) {
      const Share share{schedule_, k, shares_};
      Worker& w = workers_[thread];
      start(share, w);
      for (ptrdiff_t done = 0, lo = 0, hi = 0; next_chunk(share, done, &lo, &hi); done += hi - lo) {
        if (rows_of(share, lo, hi) == 0 && !call_.backward) break;
        run_chunk(share, w, lo, hi);
        carry(share, w, lo, hi);
      }
      finish(share, w);
    });
  }

 private:
  static void clear(T* at, ptrdiff_t n) { __builtin_memset(at, 0, n * sizeof(T)); }
  bool pointed(int slot) const {
    const Storage storage = p_.slots[slot].storage;
    return storage == Storage::kSequence || storage == Storage::kConstant || storage == Storage::kOnce;
  }
  // The number of rows in a block of this list: as many as fit the L2 cache, but at least a few tiles.
  ptrdiff_t block_rows(const List& list) const {
    const ptrdiff_t bytes = larger<ptrdiff_t>(list.row_size * ptrdiff_t(sizeof(T)), 1);
    return smaller<ptrdiff_t>(larger<ptrdiff_t>(kStepBytes / bytes, list.products ? 8 * kTileRows : 1), kProductRows);
  }

  void allocate_memory(Workspace& memory, const Crew& crew) {
    ptrdiff_t row = 0, widest = kPanel;
    for (const Slot& s : p_.slots) {
      if (s.storage == Storage::kTemp) row += padded<T>(s.size);
      widest = larger(widest, padded<T>(s.size));
    }
    const ptrdiff_t bytes = larger<ptrdiff_t>(row * ptrdiff_t(sizeof(T)), 1);
    ptrdiff_t weights = 0;
    for (const Matrix& m : p_.matrices) weights += m.K * m.N * ptrdiff_t(sizeof(T));
    if (p_.sums.count) {
      chunk_ = larger(call_.B, smaller(smaller(larger<ptrdiff_t>(kSumBytes / bytes, 64), kBackRows), schedule_.total));
      shares_ = count_shares(call_.B, crew, call_.B + 1, weights);
      share_rows_ = (call_.B + shares_ - 1) / shares_;
      const Share first{schedule_, 0, shares_};  // no other has more rows
      for (ptrdiff_t lo = 0, hi = 0, at = 0; next_chunk(first, at, &lo, &hi); at += hi - lo) capacity_ = larger(capacity_, rows_of(first, lo, hi));
    } else {
      shares_ = count_shares(call_.B, crew, larger<ptrdiff_t>(kStepBytes / bytes, 4 * kTileRows), weights);
      share_rows_ = (call_.B + shares_ - 1) / shares_;
      const ptrdiff_t some = smaller<ptrdiff_t>(larger<ptrdiff_t>(kChunkBytes / bytes, 1), kProductRows);
      chunk_ = capacity_ = larger(share_rows_, smaller(some, share_rows_ * schedule_.steps));
    }
    capacity_ = larger(capacity_, share_rows_);
    const List* const lists[] = {&p_.once, &p_.before, &p_.body, &p_.after};
    for (int k = 0; k < 4; ++k) {
      lists_[k] = {lists[k], memory.array<Bound>(lists[k]->count), block_rows(*lists[k])};
      scratch_rows_ = larger(scratch_rows_, smaller(lists_[k].block, capacity_));
    }
    zeros_ = memory.array<T>(widest);
    clear(zeros_, widest);
    once_ = memory.array<T*>(p_.slots.count);
    for (int k = 0; k < p_.slots.count; ++k) once_[k] = p_.slots[k].storage == Storage::kOnce ? memory.array<T>(call_.B * padded<T>(p_.slots[k].size)) : nullptr;
  }

  // Looks up every instruction's function and operands. The views of weights and numbers follow those of the slots. A scalar weight or number
  // is broadcast to a vector here; a scalar element of a row, when that row is processed.
  void bind(Workspace& memory) {
    int most = 0;
    for (const BoundList& list : lists_) most += 3 * list.list->count;
    fixed_ = memory.array<View<T>>(most);
    for (const BoundList& list : lists_) {
      for (int k = 0; k < list.list->count; ++k) {
        const Instruction& i = list.list->instructions[k];
        Bound& b = list.bound[k];
        b.run = is_elementwise(i.code) ? run_of<T>(i.code) : nullptr;
        b.scalars = b.spread = 0;
        b.n = !b.run || i.form != Form::kRuns ? 0 : i.flat ? padded<T>(i.shape[0]) : i.shape[0];
        for (int o = 0; o <= (b.run ? 3 : i.code == Code::product ? 1 : i.inputs); ++o) {
          const Operand& operand = o == 0 ? i.out : i.in[o - 1];
          b.view[o] = operand.index;
          b.offset[o] = operand.offset;
          const bool scalar = b.run && i.form == Form::kRuns && operand.scalar, fixed = operand.where != Where::kSlot;
          if (scalar) b.scalars |= 1 << (o - 1);
          if (scalar && !fixed) b.spread |= 1 << (o - 1);
          if (fixed) b.view[o] = p_.slots.count + bind_fixed(memory, operand, scalar), b.offset[o] = 0;
        }
      }
    }
  }
  int bind_fixed(Workspace& memory, const Operand& o, bool scalar) {
    T* at = const_cast<T*>(o.where == Where::kNumber ? number<T>(o) : call_.weights[o.index] + o.offset);
    if (scalar) {
      T* vector = memory.array<T>(W);
      store(vector, splat<T>(*at));
      at = vector;
    }
    fixed_[fixed_count_] = {at, 0, nullptr};
    return fixed_count_++;
  }

  void allocate_worker(Worker& w, Workspace& memory) {
    w.panels_reversed = false;
    const int slots = p_.slots.count, states = p_.states.count;
    w.views = memory.array<View<T>>(slots + fixed_count_);
    for (int k = 0; k < fixed_count_; ++k) w.views[slots + k] = fixed_[k];
    w.slot_rows = memory.array<SlotRows>(slots);
    w.now = memory.array<T**>(states);
    w.carry = memory.array<T*>(states);
    for (int k = 0; k < states; ++k) {
      w.now[k] = memory.array<T*>(share_rows_);
      w.carry[k] = memory.array<T>(share_rows_ * padded<T>(p_.states[k].size));
    }
    for (int k = 0; k < slots; ++k) {
      const Slot& s = p_.slots[k];
      const bool chunk = s.storage == Storage::kTemp, block = s.storage == Storage::kScratch, state = s.storage == Storage::kState && !p_.states[s.index].kept;
      const ptrdiff_t stride = padded<T>(s.size), n = chunk ? capacity_ : block ? scratch_rows_ : 0;
      w.slot_rows[k] = {chunk || block ? memory.array<T>(n * stride) : nullptr, stride, chunk ? stride : 0, nullptr, state};
      if (!chunk && !block) w.slot_rows[k].rows = state ? w.now[s.index] : memory.array<T*>(capacity_);
      if (block) w.views[k] = {w.slot_rows[k].base, stride, nullptr};
    }
    w.left = memory.array<const T*>(kProductRows);
    w.to = memory.array<T*>(kProductRows);
    w.to_tail = memory.array<T*>(kProductRows);
    w.tail = memory.array<T>(kProductRows * kPanel);
    for (ptrdiff_t r = 0; r < kProductRows; ++r) w.to_tail[r] = w.tail + r * kPanel;
    w.buffers = memory.array<T>(4 * kStrip);
    w.spread = memory.array<T>(3 * W);
    allocate_outers(w, memory);
  }
  void allocate_outers(Worker& w, Workspace& memory) {
    ptrdiff_t left = 0, right = 0;
    for (const OuterOf& o : p_.outers) left = larger(left, o.left_size), right = larger(right, units<T>(o.right_size).width());
    w.outer_left = memory.array<const T*>(left);
    w.outer_lefts = memory.array<T>(left * kOuterSteps);
    w.outer_rights = memory.array<T>(right * kOuterSteps);
    for (ptrdiff_t r = 0; r < left; ++r) w.outer_left[r] = w.outer_lefts + r * kOuterSteps;
  }

  // The next chunk's steps lo .. hi, after `done` steps have run (from the last step if the program runs backward); false if none is left.
  // If there are sums, all threads must have the same chunks.
  bool next_chunk(const Share& share, ptrdiff_t done, ptrdiff_t* lo, ptrdiff_t* hi) const {
    if (done >= schedule_.steps) return false;
    const auto rows = [&](ptrdiff_t k) {
      const ptrdiff_t s = call_.backward ? schedule_.steps - 1 - k : k;
      return p_.sums.count ? schedule_.alive(s) : share.at(s);
    };
    ptrdiff_t end = done + 1;
    for (ptrdiff_t n = rows(done); end < schedule_.steps && n + rows(end) <= chunk_; ++end) n += rows(end);
    *lo = call_.backward ? schedule_.steps - end : done;
    *hi = call_.backward ? schedule_.steps - done : end;
    return true;
  }
  ptrdiff_t rows_of(const Share& share, ptrdiff_t lo, ptrdiff_t hi) const {
    ptrdiff_t n = 0;
    for (ptrdiff_t s = lo; s < hi; ++s) n += share.at(s);
    return n;
  }

  void run_with_sums(Crew& crew) {
    const auto each_share = [&](const auto& f) {
      crew.each(shares_, [&](ptrdiff_t k, int) { f(Share{schedule_, k, shares_}, workers_[k]); });
    };
    for (int k = 0; k < p_.targets.count; ++k) {
      if (p_.targets[k] > 0) clear(call_.targets[k], p_.targets[k]);
    }
    each_share([&](const Share& share, Worker& w) { start(share, w); });
    const ptrdiff_t parts = crew.size;
    for (ptrdiff_t done = 0, lo = 0, hi = 0; next_chunk({schedule_, 0, 1}, done, &lo, &hi); done += hi - lo) {
      each_share([&](const Share& share, Worker& w) {
        run_chunk(share, w, lo, hi);
        record_summed(share, w, lo, hi);
      });
      crew.each(parts, [&](ptrdiff_t part, int thread) { sums_.add(part, parts, thread, schedule_.start[hi] - schedule_.start[lo]); });
      each_share([&](const Share& share, Worker& w) { carry(share, w, lo, hi); });
    }
    each_share([&](const Share& share, Worker& w) { finish(share, w); });
  }

  void run_chunk(const Share& share, Worker& w, ptrdiff_t lo, ptrdiff_t hi) {
    const ptrdiff_t n = rows_of(share, lo, hi);
    set_row_pointers(share, w, lo, hi);
    run_list(lists_[1], w, 0, n);
    steps(share, w, lo, hi, n);
    run_list(lists_[3], w, 0, n);
    accumulate(share, w, lo, hi, n);
    accumulate_outers(share, w, lo, hi, n);
  }

  void start(const Share& share, Worker& w) {
    const ptrdiff_t n = share.count(call_.B);
    for (int k = 0; k < p_.states.count; ++k) {
      const T* from = call_.initial[k];
      for (ptrdiff_t i = 0; i < n; ++i) w.now[k][i] = from ? const_cast<T*>(from) + schedule_.row[share.rank(i)] * p_.states[k].size : zeros_;
    }
    for (int k = 0; k < p_.accumulators.count; ++k) {
      const ptrdiff_t size = p_.accumulators[k].size;
      for (ptrdiff_t i = 0; i < n; ++i) clear(call_.accumulated[k] + schedule_.row[share.rank(i)] * size, size);
    }
    if (p_.once.count == 0) return;
    for (int k = 0; k < p_.slots.count; ++k) {
      if (p_.slots[k].storage != Storage::kOnce && p_.slots[k].storage != Storage::kConstant) continue;
      for (ptrdiff_t i = 0; i < n; ++i) w.slot_rows[k].rows[i] = row_of_batch(k, share.rank(i));
    }
    run_list(lists_[0], w, 0, n);
  }

  T* row_of_batch(int slot, ptrdiff_t j) const {
    const Slot& s = p_.slots[slot];
    if (s.storage == Storage::kOnce) return once_[slot] + j * padded<T>(s.size);
    return const_cast<T*>(call_.constants[s.index]) + schedule_.row[j] * s.size;
  }

  // Sets the pointers to rows outside the thread's own memory: of sequences and constants.
  void set_row_pointers(const Share& share, Worker& w, ptrdiff_t lo, ptrdiff_t hi) {
    const auto each_row = [&](T** to, const auto& row) __attribute__((always_inline)) {
      for (ptrdiff_t s = lo; s < hi; ++s) {
        for (ptrdiff_t i = 0, count = share.at(s); i < count; ++i) *to++ = row(share.rank(i), s);
      }
    };
    for (int k = 0; k < p_.slots.count; ++k) {
      T** const to = w.slot_rows[k].rows;
      if (!pointed(k)) continue;
      if (p_.slots[k].storage != Storage::kSequence) {
        each_row(to, [&](ptrdiff_t j, ptrdiff_t) { return row_of_batch(k, j); });
        continue;
      }
      const SequenceOf& of = p_.sequences[p_.slots[k].index];
      const Sequence<T> sequence = call_.sequences[p_.slots[k].index];
      const ptrdiff_t back = of.shifted >= 0, size = of.size;
      const T* const before = back ? call_.initials[of.shifted] : nullptr;
      const int64_t *const start = schedule_.start, *const batch = schedule_.row;
      const auto first = [&](ptrdiff_t j) { return before ? const_cast<T*>(before) + batch[j] * size : zeros_; };
      if (of.packed && sequence.data) {
        each_row(to, [&](ptrdiff_t j, ptrdiff_t s) { return s < back ? first(j) : sequence.data + (start[s - back] + j) * sequence.row; });
      } else if (sequence.data) {
        each_row(to, [&](ptrdiff_t j, ptrdiff_t s) { return s < back ? first(j) : sequence.at(batch[j], call_.time(j, s - back)); });
      } else {
        each_row(to, [&](ptrdiff_t j, ptrdiff_t s) { return s < back ? first(j) : zeros_; });
      }
    }
  }

  void steps(const Share& share, Worker& w, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t n) {
    for (ptrdiff_t k = 0, m = call_.backward ? n : 0; k < hi - lo; ++k) {
      const ptrdiff_t s = call_.backward ? hi - 1 - k : lo + k, count = share.at(s);
      if (call_.backward) m -= count;
      for (const int slot : p_.kept) __builtin_memcpy(w.slot_rows[slot].rows + m, w.now[p_.slots[slot].index], count * sizeof(T*));
      w.panels_reversed = s & 1;
      run_list(lists_[2], w, m, count);
      w.panels_reversed = false;
      for (int state = 0; state < p_.states.count; ++state) {
        const StateOf& of = p_.states[state];
        if (of.fixed) continue;
        const View<T> view = view_of(w, of.out_slot, m, 0);
        for (ptrdiff_t i = 0; i < count; ++i) w.now[state][i] = view.at(i) + of.out_offset;
      }
      if (!call_.backward) {
        m += count;
        finish_rows(share, w, s + 1 < schedule_.steps ? share.at(s + 1) : 0, count);
      }
    }
  }

  // Writes the final states of the rows first .. last of this share.
  void finish_rows(const Share& share, Worker& w, ptrdiff_t first, ptrdiff_t last) {
    for (int k = 0; k < p_.states.count && first < last; ++k) {
      const ptrdiff_t size = p_.states[k].size;
      for (ptrdiff_t i = first; call_.final[k] && i < last; ++i) {
        __builtin_memmove(call_.final[k] + schedule_.row[share.rank(i)] * size, w.now[k][i], size * sizeof(T));
      }
    }
  }

  void finish(const Share& share, Worker& w) {
    const ptrdiff_t n = share.count(call_.B);
    finish_rows(share, w, call_.backward || schedule_.steps == 0 ? 0 : share.at(0), n);
    for (int k = 0; k < p_.sequences.count; ++k) {
      const SequenceOf& of = p_.sequences[k];
      if (of.written && !of.packed) clear_padding(call_, share, call_.sequences[k], of.size);
    }
  }

  // Copies states that are in the chunk's memory, which the next chunk overwrites.
  void carry(const Share& share, Worker& w, ptrdiff_t lo, ptrdiff_t hi) {
    const ptrdiff_t n = call_.backward ? share.at(lo) : hi < schedule_.steps ? share.at(hi) : 0;
    for (int k = 0; k < p_.states.count; ++k) {
      const StateOf& of = p_.states[k];
      if (p_.slots[of.out_slot].storage != Storage::kTemp) continue;
      for (ptrdiff_t i = 0; i < n; ++i) {
        T* to = w.carry[k] + i * padded<T>(of.size);
        __builtin_memcpy(to, w.now[k][i], of.size * sizeof(T));
        w.now[k][i] = to;
      }
    }
  }

  // The rows of a slot from row m of the chunk on, which is row `first` of its step.
  static View<T> view_of(const Worker& w, int slot, ptrdiff_t m, ptrdiff_t first) {
    const SlotRows& of = w.slot_rows[slot];
    if (of.rows) return {nullptr, 0, of.rows + (of.by_step ? first : m)};
    return {of.base + m * of.step, of.stride, nullptr};
  }

  void run_list(const BoundList& bound, Worker& w, ptrdiff_t m, ptrdiff_t n) {
    const List& list = *bound.list;
    for (ptrdiff_t r = 0; r < n; r += bound.block) {
      const ptrdiff_t rows = smaller(bound.block, n - r);
      if (rows == 1) {
        run_row(bound, w, m + r, r);
        continue;
      }
      for (int k = 0; k < list.moving; ++k) w.views[list.slots[k]] = view_of(w, list.slots[k], m + r, r);
      for (int k = 0; k < list.segment_count; ++k) {
        const Segment& segment = list.segments[k];
        if (segment.product) {
          multiply(list.instructions[segment.first], bound.bound[segment.first], w, rows);
          continue;
        }
        const ptrdiff_t some = larger<ptrdiff_t>(kSegmentBytes / larger<ptrdiff_t>(segment.row_size * ptrdiff_t(sizeof(T)), 1), 1);
        for (ptrdiff_t first = 0; first < rows; first += some) {
          for (int i = segment.first; i < segment.last; ++i) run_instruction(list.instructions[i], bound.bound[i], w, first, smaller(rows, first + some));
        }
      }
    }
  }

  // Runs a list on one row, with as little work per instruction beside its arithmetic as possible.
  void run_row(const BoundList& bound, Worker& w, ptrdiff_t m, ptrdiff_t first) {
    const List& list = *bound.list;
    View<T>* const views = w.views;
    for (int k = 0; k < list.moving; ++k) {
      const View<T> view = view_of(w, list.slots[k], m, first);
      views[list.slots[k]] = {view.at(0), view.stride, nullptr};
    }
    for (int k = 0; k < list.count; ++k) {
      const Bound& b = bound.bound[k];
      const auto at = [&](int operand) __attribute__((always_inline)) { return views[b.view[operand]].base + b.offset[operand]; };
      const Instruction& i = list.instructions[k];
      if (b.n && !b.spread) {
        b.run(b.n, at(0), at(1), at(2), at(3), b.scalars);
      } else if (i.code == Code::product && i.shape[0] == 1) {
        w.to[0] = at(0), w.left[0] = at(1);
        multiply_rows(i, w, 1);
      } else if (i.code == Code::product) {
        multiply(i, b, w, 1);
      } else {
        run_instruction(i, b, w, 0, 1);
      }
    }
  }

  // Runs an instruction on rows first .. last of the block.
  void run_instruction(const Instruction& i, const Bound& b, Worker& w, ptrdiff_t first, ptrdiff_t last) {
    const View<T>* const views = w.views;
    const auto at = [&](int operand, ptrdiff_t r) __attribute__((always_inline)) { return views[b.view[operand]].at(r) + b.offset[operand]; };
    if (i.flat) {  // the rows and their padding are contiguous
      b.run((last - first) * views[b.view[0]].stride, at(0, first), at(1, first), at(2, first), at(3, first), b.scalars);
    } else if (i.form == Form::kRuns && is_elementwise(i.code)) {
      for (ptrdiff_t r = first; r < last; ++r) {
        if (!b.spread) {
          b.run(i.shape[0], at(0, r), at(1, r), at(2, r), at(3, r), b.scalars);
          continue;
        }
        T* in[3];
        for (int k = 0; k < 3; ++k) {
          in[k] = at(k + 1, r);
          if (b.spread >> k & 1) store(w.spread + k * W, splat<T>(*in[k])), in[k] = w.spread + k * W;
        }
        b.run(i.shape[0], at(0, r), in[0], in[1], in[2], b.scalars);
      }
    } else if (is_elementwise(i.code)) {
      for (ptrdiff_t r = first; r < last; ++r) run_strided(i, b.run, {at(0, r), at(1, r), at(2, r), at(3, r)}, w.buffers);
    } else if (i.code == Code::rowproduct) {
      for (ptrdiff_t r = first; r < last; ++r) multiply_row(i, at(0, r), at(1, r), at(2, r));
    } else if (i.code == Code::mul_sum) {
      for (ptrdiff_t r = first; r < last; ++r) sum_products(at(0, r), at(1, r), at(2, r), i.shape[0]);
    } else {
      const Reduce<T> reduce = reduce_of<T>(i.code);
      for (ptrdiff_t r = first; r < last; ++r) reduce(i, at(0, r), at(1, r));
    }
  }

  // A product with a weight: kProductRows sub-rows at a time, panel by panel.
  void multiply(const Instruction& i, const Bound& b, Worker& w, ptrdiff_t rows) {
    const ptrdiff_t m = i.shape[0], some = smaller(rows_at_a_time<T>(i.shape[2]), kProductRows);
    const View<T> &to = w.views[b.view[0]], &left = w.views[b.view[1]];
    for (ptrdiff_t first = 0; first < rows * m; first += some) {
      const ptrdiff_t n = smaller(some, rows * m - first);
      for (ptrdiff_t k = 0, r = first / m, sub = first % m; k < n; ++k) {
        w.to[k] = to.at(r) + b.offset[0] + sub * i.out.stride[0];
        w.left[k] = left.at(r) + b.offset[1] + sub * i.in[0].stride[0];
        if (++sub == m) sub = 0, ++r;
      }
      multiply_rows(i, w, n);
    }
  }
  // w.to = w.left times the weight, for n rows. The body alternates the order of panels from step to step: the panels used last are still
  // in the cache.
  void multiply_rows(const Instruction& i, Worker& w, ptrdiff_t n) {
    const ptrdiff_t N = i.shape[1], K = i.shape[2];
    const Right<T> right = i.matrix < 0 ? Right<T>{zeros_, 0, 1} : weights_.right[i.matrix];
    if (n == 1 && right.row && i.matrix >= 0) return multiply_direct(i, w.to[0], w.left[0], right);
    const Columns<T> columns = units<T>(N);
    const bool padding = i.out.whole && i.out.offset % W == 0;  // the last vector may be written in full
    for (ptrdiff_t p = 0; p < columns.panels(); ++p) {
      const ptrdiff_t q = w.panels_reversed ? columns.panels() - 1 - p : p;
      const ptrdiff_t column = q * kPanel, vectors = columns.in_panel(q), width = vectors * W;
      const T* start = i.accumulate ? nullptr : i.start >= 0 ? weights_.start[i.start] + column : weights_.zeros;
      if (column + width <= N || padding) {
        product(n, w.to, column, start, plain(w.left), right.panel(q), right.step(vectors), vectors, K);
        continue;
      }
      for (ptrdiff_t k = 0; i.accumulate && k < n; ++k) copy_columns(w.to_tail[k], w.to[k] + column, N - column);
      product(n, w.to_tail, 0, start, plain(w.left), right.panel(q), right.step(vectors), vectors, K);
      for (ptrdiff_t k = 0; k < n; ++k) copy_columns(w.to[k] + column, w.to_tail[k], N - column);
    }
  }
  static void copy_columns(T* to, const T* from, ptrdiff_t n) {
    for (ptrdiff_t k = 0; k < n; k += W) store_n(to + k, load_n(from + k, smaller(W, n - k)), smaller(W, n - k));
  }
  void multiply_direct(const Instruction& i, T* to, const T* left, const Right<T>& right) {
    const ptrdiff_t N = i.shape[1], K = i.shape[2];
    if (!i.accumulate && i.start >= 0) __builtin_memcpy(to, weights_.start[i.start], N * sizeof(T));
    else if (!i.accumulate) clear(to, N);
    if (right.row == N) row_product(to, left, right.data, N / W, K);
    else row_by_columns(to, left, right.data, right.row, N / W, K);
  }

  void accumulate(const Share& share, Worker& w, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t n) {
    for (int a = 0; a < p_.accumulators.count; ++a) {
      const AccumulatorOf& of = p_.accumulators[a];
      if (of.slot < 0) continue;
      const View<T> view = view_of(w, of.slot, 0, 0);
      for (ptrdiff_t k = 0, m = call_.backward ? n : 0; k < hi - lo; ++k) {
        const ptrdiff_t count = share.at(call_.backward ? hi - 1 - k : lo + k);
        if (call_.backward) m -= count;
        for (ptrdiff_t i = 0; i < count; ++i) {
          add_run(call_.accumulated[a] + schedule_.row[share.rank(i)] * of.size, view.at(m + i) + of.offset, of.size);
        }
        if (!call_.backward) m += count;
      }
    }
  }
  // Adds the outer products of a row's steps to its accumulator, up to kOuterSteps of them as one matrix product. Every element is one chain
  // of fma over the steps in running order, whatever the chunks.
  void accumulate_outers(const Share& share, Worker& w, ptrdiff_t lo, ptrdiff_t hi, ptrdiff_t n) {
    for (const OuterOf& of : p_.outers) {
      const View<T> left = view_of(w, of.left, 0, 0), right = view_of(w, of.right, 0, 0);
      const Columns<T> columns = units<T>(of.right_size);
      const ptrdiff_t width = columns.width();
      for (ptrdiff_t i = 0; i < share.at(lo); ++i) {
        T* const to = call_.accumulated[of.accumulator] + schedule_.row[share.rank(i)] * of.left_size * of.right_size;
        ptrdiff_t depth = 0;
        for (ptrdiff_t k = 0, m = call_.backward ? n : 0; k < hi - lo; ++k) {
          const ptrdiff_t count = share.at(call_.backward ? hi - 1 - k : lo + k);
          if (call_.backward) m -= count;
          if (i < count) {
            const T* const row = left.at(m + i) + of.left_offset;
            for (ptrdiff_t r = 0; r < of.left_size; ++r) w.outer_lefts[r * kOuterSteps + depth] = row[r];
            copy_columns(w.outer_rights + depth * width, right.at(m + i) + of.right_offset, of.right_size);
            ++depth;
          }
          if (!call_.backward) m += count;
          if (depth == kOuterSteps || (k + 1 == hi - lo && depth)) {
            add_outers(of, w, to, columns, depth);
            depth = 0;
          }
        }
      }
    }
  }
  void add_outers(const OuterOf& of, Worker& w, T* to, const Columns<T>& columns, ptrdiff_t depth) {
    const ptrdiff_t N = of.right_size;
    for (ptrdiff_t first = 0; first < of.left_size; first += kProductRows) {
      const ptrdiff_t n = smaller(kProductRows, of.left_size - first);
      for (ptrdiff_t r = 0; r < n; ++r) w.to[r] = to + (first + r) * N;
      for (ptrdiff_t q = 0; q < columns.panels(); ++q) {
        const ptrdiff_t column = q * kPanel, vectors = columns.in_panel(q);
        const bool whole = column + vectors * W <= N;
        for (ptrdiff_t r = 0; !whole && r < n; ++r) copy_columns(w.to_tail[r], w.to[r] + column, N - column);
        product(n, whole ? w.to : w.to_tail, whole ? column : 0, static_cast<const T*>(nullptr), plain(w.outer_left + first),
                w.outer_rights + column, columns.width(), vectors, depth);
        for (ptrdiff_t r = 0; !whole && r < n; ++r) copy_columns(w.to[r] + column, w.to_tail[r], N - column);
      }
    }
  }
  static void add_run(T* to, const T* from, ptrdiff_t n) {
    for (ptrdiff_t k = 0; k < n; k += W) {
      const ptrdiff_t lanes = smaller(W, n - k);
      store_n(to + k, load_n(to + k, lanes) + load_n(from + k, lanes), lanes);
    }
  }

  // Records the addresses of this share's rows of the chunk, by packed position, for the sums.
  void record_summed(const Share& share, Worker& w, ptrdiff_t lo, ptrdiff_t hi) {
    for (const int slot : p_.summed) {
      const View<T> view = view_of(w, slot, 0, 0);
      for (ptrdiff_t s = lo, m = 0; s < hi; ++s) {
        for (ptrdiff_t i = 0, count = share.at(s); i < count; ++i, ++m) sums_.rows[slot][schedule_.start[s] - schedule_.start[lo] + share.rank(i)] = view.at(m);
      }
    }
  }

  const Program& p_;
  const LoopCall<T>& call_;
  const Schedule& schedule_;
  PackedWeights<T> weights_;
  bool packed_;
  ptrdiff_t shares_ = 1, share_rows_ = 0, chunk_ = 0, capacity_ = 0, scratch_rows_ = 0;
  T *zeros_, **once_;
  BoundList lists_[4];  // once, before, body, after
  View<T>* fixed_ = nullptr;
  int fixed_count_ = 0;
  RowSums<T> sums_;
  Worker* workers_;
};

}  // namespace tgr::TGR_ISA
