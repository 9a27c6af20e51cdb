#include "load.h"

#include <cxxabi.h>

#include <cstdlib>

#include "machine.h"
#include "registers.h"

namespace emulator {
namespace {

// As it stands in the source, if it is a C++ name.
std::string demangled(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  const std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}
// Without its type and parameters.
std::string kernel_name(const std::string& name) {
  std::string result = demangled(name);
  if (result.starts_with("void ")) result.erase(0, 5);
  return result.substr(0, result.rfind('('));
}
// Without the function that it stands in, and what nvcc appends.
std::string variable_name(const std::string& name) {
  const std::string result = demangled(name.substr(0, name.find("_$_")));
  const size_t at = result.rfind("::");
  return at == std::string::npos ? result : result.substr(at + 2);
}

}  // namespace

std::unique_ptr<Kernel> load(const Decoded& decoded) {
  auto kernel = std::make_unique<Kernel>();
  kernel->name = kernel_name(decoded.name);
  kernel->n_data = static_cast<int>(decoded.n_data);
  kernel->n_predicates = static_cast<int>(decoded.n_predicates);
  kernel->param_bytes = decoded.param_bytes;
  kernel->shared_bytes = decoded.shared_bytes;
  kernel->max_threads = static_cast<int>(decoded.max_threads);
  kernel->exact_threads = static_cast<int>(decoded.exact_threads);
  kernel->forms.assign(decoded.forms, decoded.forms + decoded.n_forms);
  kernel->sources.assign(decoded.sources, decoded.sources + decoded.n_sources);
  std::vector<const Form*> forms;
  for (const std::string& form : kernel->forms) forms.push_back(&find_form(form));
  std::vector<uint32_t> operands_written, operands_read;
  for (int64_t r = 0; r < decoded.n_code; ++r) {
    const int64_t* row = decoded.code + r * (kColumns + kOperands);
    const Form& form = *forms[row[0]];
    const std::string& name = kernel->forms[row[0]];
    const int operands = operands_of(name);
    if (operands >= 0 && operands != row[7]) {
      throw Fault(name + " with " + std::to_string(row[7]) + " operands, PTX line " + std::to_string(row[5]));
    }
    Instr i{};
    i.run = form.run;
    i.together = form.together;
    i.kind = form.kind;
    i.joins = form.joins;
    i.mask_operand = static_cast<int16_t>(form.mask_operand);
    i.form = static_cast<int32_t>(row[0]);
    i.guard = static_cast<int32_t>(row[1]);
    i.negated = row[2] != 0;
    i.target = static_cast<int32_t>(row[3]);
    i.offset = row[4];
    i.line = static_cast<int32_t>(row[5]);
    i.leader = row[6] != 0;
    i.count = static_cast<int32_t>(row[7]);
    i.source = static_cast<int32_t>(row[8]);
    i.index = static_cast<int32_t>(r);
    operands_written.push_back(static_cast<uint32_t>(row[9]));
    operands_read.push_back(static_cast<uint32_t>(row[10]));
    for (int k = 0; k < kOperands; ++k) i.operand[k] = static_cast<int32_t>(row[kColumns + k]);
    kernel->code.push_back(i);
  }
  for (int64_t k = 0; k < decoded.n_constants; ++k) {
    kernel->constants.emplace_back(static_cast<int>(decoded.constants[2 * k]), decoded.constants[2 * k + 1]);
  }
  for (int64_t k = 0; k < decoded.n_predicate_constants; ++k) {
    kernel->predicate_constants.emplace_back(decoded.predicate_constants[2 * k],
                                             decoded.predicate_constants[2 * k + 1]);
  }
  for (int64_t k = 0; k < decoded.n_specials; ++k) {
    kernel->specials.emplace_back(decoded.specials[2 * k], decoded.specials[2 * k + 1]);
  }
  for (int64_t k = 0; k < decoded.n_params; ++k) {
    kernel->params.emplace_back(decoded.params[2 * k], decoded.params[2 * k + 1]);
  }
  share_registers(*kernel, operands_written, operands_read);
  int64_t bytes = 0;
  for (int64_t k = 0; k < decoded.n_shared; ++k) {
    kernel->shared.push_back(
        {variable_name(decoded.shared_names[k]), decoded.shared[2 * k], decoded.shared[2 * k + 1]});
    bytes += kernel->shared.back().end - kernel->shared.back().begin;
  }
  kernel->gap_bytes = kernel->shared_bytes - bytes;
  if (bytes > kMostStaticShared) {
    throw Fault(kernel->name + ": its shared variables make " + std::to_string(bytes) + " bytes; ptxas takes " +
                std::to_string(kMostStaticShared) + " at most");
  }
  return kernel;
}

}  // namespace emulator
