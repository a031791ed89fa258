// Semantic labels at 1/4 of the size of a binary PPM whose sides are multiples of the divisor:
// predict model.onnx image.ppm labels.pgm
#include <onnxruntime_cxx_api.h>

#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <vector>

int main(int argc, char** argv) {
  if (argc != 4) return std::cerr << "predict model.onnx image.ppm labels.pgm\n", 2;
  std::ifstream file(argv[2], std::ios::binary);
  std::string kind;
  int64_t W = 0, H = 0, most = 0;
  file >> kind >> W >> H >> most;
  std::vector<unsigned char> rgb(3 * H * W);
  if (kind != "P6" || most != 255 || !file.ignore() || !file.read((char*)rgb.data(), rgb.size()))
    return std::cerr << argv[2] << " is not a whole P6 of 8 bits\n", 1;

  std::vector<float> image(rgb.size());  // channels first, 0 to 255
  for (int64_t p = 0; p < H * W; ++p)
    for (int64_t c = 0; c < 3; ++c) image[c * H * W + p] = rgb[3 * p + c];
  std::vector<int64_t> tasks{2};  // 0 panoptic, 1 instance, 2 semantic; several at once: {0, 1, 2}

  Ort::Env env(ORT_LOGGING_LEVEL_ERROR, "oneformer");
  Ort::Session session(env, argv[1], Ort::SessionOptions{});
  auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
  std::vector<int64_t> size{1, 3, H, W}, count{1, (int64_t)tasks.size()};
  std::vector<Ort::Value> inputs;
  inputs.push_back(
      Ort::Value::CreateTensor<float>(memory, image.data(), image.size(), size.data(), 4));
  inputs.push_back(
      Ort::Value::CreateTensor<int64_t>(memory, tasks.data(), tasks.size(), count.data(), 2));
  const char* in[] = {"image", "tasks"};
  const char* out[] = {"class_logits", "mask_logits"};
  auto outputs = session.Run(Ort::RunOptions{}, in, inputs.data(), 2, out, 2);

  auto shape = outputs[0].GetTensorTypeAndShapeInfo().GetShape();  // 1 T Q K+1
  const int64_t Q = shape[2], K = shape[3] - 1, h = H / 4, w = W / 4;
  const float* logits = outputs[0].GetTensorData<float>();
  const float* masks = outputs[1].GetTensorData<float>();
  std::vector<float> weights(Q * K);  // softmax, without "no object"
  for (int64_t q = 0; q < Q; ++q) {
    float sum = 0;
    for (int64_t k = 0; k <= K; ++k) sum += std::exp(logits[q * (K + 1) + k]);
    for (int64_t k = 0; k < K; ++k) weights[q * K + k] = std::exp(logits[q * (K + 1) + k]) / sum;
  }
  std::ofstream labels(argv[3], std::ios::binary);
  labels << "P5\n" << w << " " << h << "\n255\n";
  std::vector<float> scores(K);
  for (int64_t p = 0; p < h * w; ++p) {
    scores.assign(K, 0);
    for (int64_t q = 0; q < Q; ++q) {
      const float inside = 1 / (1 + std::exp(-masks[q * h * w + p]));
      for (int64_t k = 0; k < K; ++k) scores[k] += weights[q * K + k] * inside;
    }
    int64_t best = 0;
    for (int64_t k = 1; k < K; ++k)
      if (scores[k] > scores[best]) best = k;
    labels.put((char)best);
  }
}
