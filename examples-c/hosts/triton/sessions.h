// The sessions of one instance, by the shapes of their inputs. A batch runs on a session of the next
// power of two of rows, at most max_batch_size: then an instance compiles a handful of programs, and no
// more while it serves. All share the model's weights.

#pragma once

#include <list>
#include <vector>

#include "model.h"

namespace backend {

class sessions {
 public:
  explicit sessions(const model_state& model) : model_(model) {}

  // Makes those of every batch size, where the batch is the only dim that is open.
  void prepare();

  // Rows of the session that runs so many.
  std::int64_t rows_for(std::int64_t rows) const;

  // The session of these shapes, one for each input of the model and without the batch dim. It is made
  // when it is not there; those that were not used for longest are ended.
  inferno::session& of(std::int64_t rows, const std::vector<dims>& shapes);

  // Runs one, within the model's time.
  void run(inferno::session& one) const;

 private:
  struct place {
    std::int64_t rows;
    std::vector<dims> shapes;
    inferno::session session;
  };

  inferno::session make(std::int64_t rows, const std::vector<dims>& shapes) const;

  const model_state& model_;
  std::list<place> kept_;  // the last used first
};

}  // namespace backend
