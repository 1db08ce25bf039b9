package carrier

import (
	"strings"

	"github.com/posthaste/posthaste/pkg/status"
)

// kuaidi100Rules maps statusCode, and state, which share their codes.
var kuaidi100Rules = map[string]rule{
	"0":    of(status.InTransitMoving),
	"1001": of(status.InTransitArrivedDestinationCity),
	"1002": of(status.InTransitMoving),
	"1003": of(status.InTransitRedirected),
	"1":    of(status.PickedUpCollected),
	"101":  of(status.InfoReceivedOrderCreated),
	"102":  of(status.InfoReceivedPickupScheduled),
	"103":  of(status.PickedUpCollected),
	"2":    of(status.ExceptionUnspecified),
	"201":  of(status.ExceptionNotDeliveredInTime),
	"202":  of(status.ExceptionNoMovement),
	"203":  of(status.DeliveryFailedRefused),
	"204":  of(status.DeliveryFailedAttempted),
	"205":  of(status.AvailableForPickupOverdue),
	"206":  of(status.DeliveryFailedRecipientUnreachable),
	"207":  of(status.ExceptionOutOfArea),
	"208":  of(status.ExceptionDelayed),
	"209":  of(status.ExceptionDamaged),
	"210":  of(status.CancelledBySender),
	"3":    of(status.DeliveredUnspecified),
	"301":  of(status.DeliveredRecipient),
	"302":  of(status.DeliveredAfterException),
	"303":  of(status.DeliveredOtherPerson),
	"304":  of(status.DeliveredCollected),
	"4":    of(status.ReturnedToSender),
	"401":  of(status.CancelledUnspecified),
	"5":    of(status.OutForDeliveryOnVehicle),
	"501":  of(status.AvailableForPickupPickupPoint),
	"6":    of(status.ReturningInTransit),
	"7":    of(status.InTransitHandedOver),
	"8":    of(status.CustomsInClearance),
	"10":   of(status.CustomsInClearance),
	"11":   of(status.CustomsInClearance),
	"12":   of(status.CustomsCleared),
	"13":   of(status.CustomsHeld),
	"14":   of(status.DeliveryFailedRefused),
}

// kuaidi100Names are the codes of a node's status by name: with resultv2=1
// there is the name alone. 派件异常后签收 and the like are names of their own.
var kuaidi100Names = map[string]string{
	"在途": "0", "到达派件城市": "1001", "干线": "1002", "转递": "1003",
	"揽收": "1", "已下单": "101", "待揽收": "102", "已揽收": "103",
	"疑难": "2", "超时未签收": "201", "超时未更新": "202", "拒收": "203", "派件异常": "204", "柜或驿站超时未取": "205",
	"无法联系": "206", "超区": "207", "滞留": "208", "破损": "209", "销单": "210",
	"签收": "3", "本人签收": "301", "派件异常后签收": "302", "代签": "303", "投柜或站签收": "304",
	"退签": "4", "已销单": "401", "派件": "5", "投柜或驿站": "501", "退回": "6", "转投": "7",
	"清关": "8", "待清关": "10", "清关中": "11", "已清关": "12", "清关异常": "13", "拒签": "14",
}

// kuaidi100Group is the basic code that an unknown advanced one belongs to.
func kuaidi100Group(code string) (string, bool) {
	if len(code) == 4 && strings.HasPrefix(code, "10") {
		return "0", true
	}
	if len(code) != 3 || code[0] == '0' {
		return "", false
	}
	_, ok := kuaidi100Rules[code[:1]]
	return code[:1], ok
}
