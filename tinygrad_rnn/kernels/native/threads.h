// How many threads a call may use.
#pragma once

namespace tgr {

int get_threads();
void set_threads(int n);

}  // namespace tgr
