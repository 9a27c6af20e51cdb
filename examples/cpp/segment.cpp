// Segments an image by a package of `magnet export --format aoti`. There is no Python in it.
//
//   segment magnet_kernels/_cpu.abi3.so model_512x1024_aoti.pt2 image.ppm labels.pgm
#include <ATen/ATen.h>
#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <fstream>
#include <iostream>

int main(int argc, char** argv) try {
  if (argc != 5) throw std::runtime_error("usage: segment LIBRARY PACKAGE IMAGE.ppm LABELS.pgm");
  if (!dlopen(argv[1], RTLD_NOW)) throw std::runtime_error(dlerror());  // the operators magnet_kernels::*
  torch::inductor::AOTIModelPackageLoader package(argv[2]);

  std::ifstream file(argv[3], std::ios::binary);
  std::string magic;
  int64_t width = 0, height = 0, most = 0;
  file >> magic >> width >> height >> most;
  if (magic != "P6" || most != 255) throw std::runtime_error("expected a binary PPM of 8 bits, without comments");
  std::vector<uint8_t> pixels(height * width * 3);
  file.ignore(1).read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(pixels.size()));
  if (!file) throw std::runtime_error("the image ends early");

  c10::InferenceMode no_gradients;
  at::Tensor image = at::from_blob(pixels.data(), {1, height, width, 3}, at::kByte).permute({0, 3, 1, 2});
  at::Tensor labels = package.run({image.to(at::kFloat).div(255).contiguous()})[0];

  std::ofstream out(argv[4], std::ios::binary);
  out << "P5\n" << width << ' ' << height << "\n255\n";
  out.write(static_cast<const char*>(labels.contiguous().data_ptr()), labels.numel());
  if (!out.flush()) throw std::runtime_error(std::string("could not write ") + argv[4]);
  return 0;
} catch (const c10::Error& error) {
  std::cerr << argv[2] << ": " << error.what_without_backtrace() << '\n';
  return 1;
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
