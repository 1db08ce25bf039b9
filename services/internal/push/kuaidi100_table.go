package push

import "github.com/posthaste/posthaste/pkg/status"

// kuaidi100Status is the advanced code of a status alone, for what has no
// sub-status.
var kuaidi100Status = map[status.Status]string{
	status.Unknown:            "0",
	status.Pending:            "0",
	status.InfoReceived:       "101",
	status.PickedUp:           "1",
	status.InTransit:          "0",
	status.Customs:            "8",
	status.OutForDelivery:     "5",
	status.AvailableForPickup: "501",
	status.DeliveryFailed:     "204",
	status.Delivered:          "3",
	status.Exception:          "2",
	status.Returning:          "6",
	status.Returned:           "4",
	status.Cancelled:          "401",
	status.Expired:            "202",
}

// kuaidi100Sub is the advanced code of each sub-status.
var kuaidi100Sub = map[status.Sub]string{
	status.UnknownUnspecified: "0",

	status.PendingRegistered:    "0",
	status.PendingNoData:        "0",
	status.PendingInvalidNumber: "0",
	status.PendingNeedsInfo:     "0",

	status.InfoReceivedOrderCreated:    "101",
	status.InfoReceivedLabelCreated:    "101",
	status.InfoReceivedPickupScheduled: "102",
	status.InfoReceivedPickupFailed:    "102",
	status.InfoReceivedPreparing:       "101",

	status.PickedUpCollected:  "1",
	status.PickedUpDroppedOff: "1",
	status.PickedUpAccepted:   "1",

	status.InTransitMoving:                    "0",
	status.InTransitDeparted:                  "0",
	status.InTransitArrived:                   "0",
	status.InTransitProcessed:                 "0",
	status.InTransitLineHaulDeparted:          "1002",
	status.InTransitLineHaulArrived:           "1002",
	status.InTransitLeftOriginCountry:         "1002",
	status.InTransitArrivedDestinationCountry: "0",
	status.InTransitArrivedDestinationCity:    "1001",
	status.InTransitAtDeliveryOffice:          "1001",
	status.InTransitHandedOver:                "7",
	status.InTransitRedirected:                "1003",
	status.InTransitHeldAtFacility:            "0",
	status.InTransitSecurityCheck:             "0",
	status.InTransitResumed:                   "0",

	status.CustomsExportPresented: "10",
	status.CustomsExportHeld:      "13",
	status.CustomsExportCleared:   "12",
	status.CustomsInClearance:     "11",
	status.CustomsInspection:      "11",
	status.CustomsHeld:            "13",
	status.CustomsInfoRequired:    "13",
	status.CustomsPaymentRequired: "13",
	status.CustomsDutyPaid:        "11",
	status.CustomsDelayed:         "13",
	status.CustomsCleared:         "12",
	status.CustomsRejected:        "13",

	status.OutForDeliveryOnVehicle:     "5",
	status.OutForDeliveryAppointment:   "5",
	status.OutForDeliveryNotified:      "5",
	status.OutForDeliveryToPickupPoint: "5",
	status.OutForDeliveryRetrieved:     "5",

	status.AvailableForPickupPickupPoint:    "501",
	status.AvailableForPickupLocker:         "501",
	status.AvailableForPickupCarrierCounter: "501",
	status.AvailableForPickupOverdue:        "205",

	status.DeliveryFailedAttempted:            "204",
	status.DeliveryFailedRecipientAbsent:      "204",
	status.DeliveryFailedRecipientUnreachable: "206",
	status.DeliveryFailedAddressProblem:       "204",
	status.DeliveryFailedRefused:              "203",
	status.DeliveryFailedBusinessClosed:       "204",
	status.DeliveryFailedRescheduled:          "204",
	status.DeliveryFailedNoAccess:             "204",
	status.DeliveryFailedPaymentDue:           "204",
	status.DeliveryFailedSecurity:             "204",

	status.DeliveredUnspecified:    "3",
	status.DeliveredRecipient:      "301",
	status.DeliveredOtherPerson:    "303",
	status.DeliveredNeighbour:      "303",
	status.DeliveredFrontDesk:      "303",
	status.DeliveredLocker:         "304",
	status.DeliveredCollected:      "304",
	status.DeliveredSafePlace:      "3",
	status.DeliveredMailbox:        "3",
	status.DeliveredCashCollected:  "301",
	status.DeliveredPartial:        "3",
	status.DeliveredAfterException: "302",
	status.DeliveredDamaged:        "302",

	status.ExceptionUnspecified:        "2",
	status.ExceptionDelayed:            "208",
	status.ExceptionWeather:            "208",
	status.ExceptionCarrierIssue:       "2",
	status.ExceptionMissorted:          "2",
	status.ExceptionDamaged:            "209",
	status.ExceptionLost:               "2",
	status.ExceptionDestroyed:          "209",
	status.ExceptionAddressProblem:     "204",
	status.ExceptionRecipientMoved:     "204",
	status.ExceptionHeld:               "208",
	status.ExceptionPaymentRequired:    "2",
	status.ExceptionDocumentsMissing:   "2",
	status.ExceptionProhibited:         "2",
	status.ExceptionSeized:             "2",
	status.ExceptionSecurity:           "2",
	status.ExceptionIntercepted:        "2",
	status.ExceptionUnclaimed:          "205",
	status.ExceptionNoMovement:         "202",
	status.ExceptionNotDeliveredInTime: "201",
	status.ExceptionNoPickupScan:       "202",
	status.ExceptionOutOfArea:          "207",
	status.ExceptionUnderInvestigation: "2",
	status.ExceptionClaimPaid:          "2",

	status.ReturningInitiated:          "6",
	status.ReturningInTransit:          "6",
	status.ReturningUndelivered:        "6",
	status.ReturningAvailableForPickup: "6",
	status.ReturningFailed:             "6",

	status.ReturnedToSender:    "4",
	status.ReturnedToWarehouse: "4",

	status.CancelledUnspecified: "401",
	status.CancelledBySender:    "210",
	status.CancelledByRecipient: "401",
	status.CancelledByCarrier:   "401",

	status.ExpiredNoUpdates: "202",
	status.ExpiredStopped:   "202",
}

// kuaidi100Names are the codes' names, which nodes carry.
var kuaidi100Names = map[string]string{
	"0": "在途", "1001": "到达派件城市", "1002": "干线", "1003": "转递",
	"1": "揽收", "101": "已下单", "102": "待揽收", "103": "已揽收",
	"2": "疑难", "201": "超时未签收", "202": "超时未更新", "203": "拒收", "204": "派件异常", "205": "柜或驿站超时未取",
	"206": "无法联系", "207": "超区", "208": "滞留", "209": "破损", "210": "销单",
	"3": "签收", "301": "本人签收", "302": "派件异常后签收", "303": "代签", "304": "投柜或站签收",
	"4": "退签", "401": "已销单", "5": "派件", "501": "投柜或驿站", "6": "退回", "7": "转投",
	"8": "清关", "10": "待清关", "11": "清关中", "12": "已清关", "13": "清关异常", "14": "拒签",
}

// kuaidi100Basic folds an advanced code into the basic one that every receiver
// knows.
func kuaidi100Basic(code string) string {
	switch {
	case len(code) == 4:
		return "0"
	case len(code) == 3:
		return code[:1]
	case code == "14":
		return "4"
	case len(code) == 2:
		return "8"
	default:
		return code
	}
}
