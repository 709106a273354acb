// What a warm read is compared with: Express, answering from a Map. Takes the body's file, the file for its
// base URL, and the row's id.
const fs = require("node:fs");
const express = require("express");

const [body, url, row] = process.argv.slice(2);
const tracks = new Map([[row, fs.readFileSync(body, "utf8")]]);
const app = express();
app.get("/library/rotation/:id/tracks", (request, response) => {
  response.type("json").send(tracks.get(request.params.id));
});
const server = app.listen(0, "127.0.0.1", () => {
  fs.writeFileSync(`${url}.draft`, `http://127.0.0.1:${server.address().port}`);
  fs.renameSync(`${url}.draft`, url);
});
