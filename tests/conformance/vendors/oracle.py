"""Oracle's OCI Generative AI: OpenAI's dialect for chats, Oracle's own for embeddings, rankings and lists."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.conformance.vendors.native import needed, only
from tests.conformance.vendors.vendor import CHAT, EMBEDDINGS, JSON, RERANK, Asking, NotUnderstood, Ranking, Vendor

COMPARTMENT = "ocid1.compartment.oc1..aaaa"
ACTIONS = "/20231130/actions"
LISTED = {"id": "ocid1.generativeaimodel.oc1..a", "displayName": "sky", "capabilities": ["CHAT"]}


@dataclass(frozen=True)
class Oracle(Vendor):
    def asking(self, path: str, query: Mapping[str, str]) -> Asking | None:
        own = {f"{ACTIONS}/embedText": Asking(EMBEDDINGS), f"{ACTIONS}/rerankText": Asking(RERANK)}
        return own.get(path) or super().asking(path, query)

    def question(self, operation: str, body: JSON) -> JSON:
        if operation == CHAT:
            return super().question(operation, body)
        if body.get("compartmentId") != COMPARTMENT:
            raise NotUnderstood("compartmentId may not be null")
        serving = only(needed(body, "servingMode", dict), "servingType", "modelId")
        if serving["servingType"] != "ON_DEMAND":
            raise NotUnderstood("servingType")
        asked = {"model": serving["modelId"]}
        if operation == EMBEDDINGS:
            return asked | {"input": needed(only(body, "compartmentId", "servingMode", "inputs"), "inputs", list)}
        only(body, "compartmentId", "servingMode", "input", "documents", "topN")
        most = {"topN": body["topN"]} if "topN" in body else {}
        return asked | {"query": body["input"], "documents": body["documents"], **most}

    def vectors(self, body: JSON, vectors: list[list[float]]) -> JSON:
        usage = {"promptTokens": 3, "completionTokens": 0, "totalTokens": 3}
        return {"id": "x", "modelId": body["model"], "embeddings": vectors, "usage": usage}


ORACLE = Oracle(
    "remote::oci",
    "https://docs.oracle.com/en-us/iaas/Content/generative-ai/chat-completions-api.htm, and of what is Oracle's own "
    "https://docs.oracle.com/en-us/iaas/api/#/en/generative-ai-inference/20231130",
    config={"oci_compartment_id": COMPARTMENT},
    prefix="/openai/v1",
    address="",
    headers={"CompartmentId": COMPARTMENT, "opc-compartment-id": COMPARTMENT},
    offers=frozenset({CHAT, EMBEDDINGS}),
    done=False,
    ranking=Ranking(f"{ACTIONS}/rerankText", most="topN", results="documentRanks", score="relevanceScore"),
    told={"/20231130/models": {"items": [LISTED]}, "/20231130/endpoints": {"items": []}},
    unauthorized=(401, {"code": "NotAuthenticated", "message": "The required information to complete authentication"}),
    unknown_model=(404, {"code": "404", "message": "Entity with key unknown not found"}),
    too_many=(429, {"code": "429", "message": "Too many requests"}),
    failure=(500, {"code": "InternalServerError", "message": "An internal error occurred."}),
)
